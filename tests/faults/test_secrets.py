"""What a cell marked `#| secret` binds stays in its kernels: not in the store, not in what is told."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from .lab import SECONDS, Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

WORD = "correct-horse-battery"
CELLS = (
    "import probe, os",
    f"#| secret: database\nlogin = ('bob', {WORD[:8]!r} + {WORD[8:]!r})\npin = 1234\nnothing = None",
    "a = probe.at('a')\nheader = f'Bearer {login[1]}'",
    "b = probe.at('b')\nprint(login[1])",
    "c = probe.at('c')",
    "print(a, b, c, len(header), pin, login[0])",
)


def stored(lab: Lab) -> bytes:
    """Everything in the store."""
    return b"".join(p.read_bytes() for p in lab.store.rglob("*") if p.is_file())


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
@pytest.mark.parametrize("offload", ["all", "none"])
def test_a_secret_never_reaches_the_store(lab: Lab, options: tuple[str, ...], offload: str) -> None:
    lab.write(*CELLS)
    for _ in range(2):
        done = lab.run(*options, offload=offload)
        assert done.code == 0, done.err
        assert lab.text(5) == "1.0 1.0 1.0 28 1234 bob\n"
        assert lab.text(3) == WORD + "\n"  # what the user prints is the user's
        for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
            assert WORD.encode(encoding) not in stored(lab)
        assert WORD not in done.err + done.out
        told = [c.get("metadata", {}) for c in json.loads(lab.target.read_text())["cells"]]
        assert WORD not in json.dumps(told)


def test_an_error_does_not_tell_a_secret_and_collecting_one_does_not_either(lab: Lab) -> None:
    lab.write(*CELLS[:2], "copy = dict(w=login[1])\nraise ValueError(f'no entry for {login[1]}')")
    failed = lab.run()
    assert failed.code == 1
    assert WORD not in failed.err + failed.out
    assert "no entry for" in failed.err


def test_a_certificate_holds_no_secret(lab: Lab) -> None:
    lab.write(*CELLS)
    report = lab.folder / "report"
    words = [*lab.words()[:2], "jup2kub", "verify", str(lab.notebook), "--annotations", str(lab.table)]
    done = subprocess.run(
        [*words, "--store", str(lab.store), "--report", str(report), "--offload", "all"],
        env={**lab.env(), "PWD": os.getcwd()},
        capture_output=True,
        timeout=SECONDS,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert WORD not in "".join(p.read_text() for p in report.iterdir())
    assert WORD.encode() not in stored(lab)
