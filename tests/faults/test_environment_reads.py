"""A result that read environment variables stands as long as these, and only these, are as they were."""

from __future__ import annotations

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("offload", ["all", "none"])
def test_only_the_variables_that_were_read_decide(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, offload: str
) -> None:
    lab.write(
        "import probe, os, helper\nfor i in range(3_000_000): pass",
        "a = probe.at('a')\nmode = os.environ.get('STUDY_MODE', 'none')\nfor i in range(9_000_000): pass",
        "b = probe.at('b')\nsize = helper.size()\nfor i in range(9_000_000): pass",
        "print(a, b, mode, size)",
    )
    (lab.project / "helper.py").write_text(
        "import os\nimport probe\ndef size():\n    return os.getenv('STUDY_' + 'SIZE')\n"
    )
    monkeypatch.setenv("STUDY_MODE", "fast")
    monkeypatch.setenv("STUDY_SIZE", "3")
    seen = []
    for name, value in (("FIRST", "1"), ("UNRELATED", "2"), ("STUDY_MODE", "slow"), ("STUDY_SIZE", "4")):
        monkeypatch.setenv(name, value)
        done = lab.run(offload=offload)
        assert done.code == 0, done.err
        seen.append((lab.text(3).split()[2:], len(lab.executions("a")), len(lab.executions("b"))))
    assert seen == [
        (["fast", "3"], 1, 1),
        (["fast", "3"], 1, 1),
        (["slow", "3"], 2, 1),
        (["slow", "4"], 2, 2),
    ]
