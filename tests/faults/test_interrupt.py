"""Ctrl-C and a request to end: exit code 130, no process left, and the next run goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]


def states(lab: Lab) -> list[str]:
    """Return the state of every run in the store."""
    words = [sys.executable, "-m", "jup2kub", "runs", "--json", "--store", str(lab.store)]
    done = subprocess.run(words, capture_output=True, text=True, env=lab.env(), check=True, timeout=30)
    return [r["state"] for r in json.loads(done.stdout)]


def alive(pid: int) -> bool:
    """Return whether the process is there and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("offload", ["none", "all"])
def test_interrupted_run_leaves_no_process_and_goes_on(
    lab: Lab, number: signal.Signals, offload: str
) -> None:
    (lab.project / "log.txt").write_text("before\n")
    lab.write(
        "import probe, subprocess",
        "a = probe.at('a')\nfor i in range(3_000_000): pass",
        "with open('log.txt', 'a') as f:\n    f.write('b')\n    f.flush()\n    b = probe.at('b')",
        "print(a + b)",
    )
    lab.gate("b")
    running = lab.start(offload=offload)
    with lab.hold("b"):
        running.signal(number)
        done = running.end()
    lab.open_gate("b")
    assert done.code == 130
    assert "continues" in done.err
    assert not lab.target.exists()
    assert states(lab) == ["interrupted"]
    assert not [p for n in "ab" for p in lab.executions(n) if alive(p)]
    done = lab.run(offload=offload)
    assert done.code == 0, done.err
    assert lab.text(3) == "2.0\n"
    assert lab.files() == {"log.txt": b"before\nb"}
    assert states(lab) == ["done"]
    assert len(lab.executions("b")) == 2


def test_interrupt_ends_what_the_notebook_started(lab: Lab) -> None:
    lab.write(
        "import probe, subprocess",
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "open('pid', 'w').write(str(p.pid))\nb = probe.at('b')",
    )
    lab.gate("b")
    running = lab.start(offload="none")
    with lab.hold("b"):
        child = int((lab.project / "pid").read_text())
        running.signal(signal.SIGINT)
        assert running.end().code == 130
    assert not alive(child)
