"""kill -9 at any moment, of any of its processes or of all: the next run gives the answer, the files, and repeats little."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(280)]

BUSY = "for i in range(2_000_000): pass\n"
CELLS = (
    "import probe, os, sqlite3, pathlib",
    BUSY + "a = [probe.at('a')] * 1000",
    "with open('log.txt', 'a') as f:\n    f.write('b\\n')\n    f.flush()\n    b = probe.at('b')\n    f.write('B\\n')",
    BUSY + "c = sum(a) + probe.at('c')",
    "os.makedirs('made/deep', exist_ok=True)\npathlib.Path('made/deep/d.txt').write_text('d')\n"
    "os.rename('old.txt', 'new.txt')\nd = probe.at('d')\npathlib.Path('gone.txt').unlink()",
    BUSY + "e = probe.at('e') + c",
    "with sqlite3.connect('data.db') as db:\n    db.execute('insert into t values (1)')\n    f = probe.at('f')\ndb.close()",
    "db = sqlite3.connect('data.db')\nprint(b, c, d, e, f, db.execute('select count(*) from t').fetchall())\ndb.close()\n"
    "print(open('log.txt').read(), sorted(os.listdir()))",
)
NAMES = "abcdef"


def prepare(lab: Lab) -> None:
    """Write the notebook, and the files it changes."""
    (lab.project / "log.txt").write_text("before\n")
    (lab.project / "old.txt").write_text("old")
    (lab.project / "gone.txt").write_text("gone")
    with contextlib.closing(sqlite3.connect(lab.project / "data.db")) as db:
        db.execute("create table t (x)")
        db.commit()
    lab.write(*CELLS)


def contents(lab: Lab) -> dict[str, bytes]:
    """Return the files, a database by what it holds."""
    found = lab.files()
    with contextlib.closing(sqlite3.connect(lab.project / "data.db")) as db:
        return {**found, "data.db": repr(list(db.iterdump())).encode()}


def below(pid: int) -> list[int]:
    """Return the living descendants of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *below(int(child))]
    return found


def kill_one(lab: Lab, pid: int, chance: random.Random) -> None:
    """Kill the process or one of those below it."""
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(below(pid)), signal.SIGKILL)


def sequential(lab: Lab) -> list[object]:
    """Return the outputs of a serial run in one kernel, keep its files in `lab.after`, and go back to the start."""
    words = lab.words("--offload", "none", "--plan", "serial")
    words[words.index("--store") + 1] = str(lab.folder / "other-store")
    done = subprocess.run(words, cwd=lab.project, env=lab.env(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outputs, lab.after = lab.outputs(), contents(lab)
    shutil.rmtree(lab.project)
    lab.project.mkdir()
    prepare(lab)
    for name in NAMES:
        (lab.marks / name).unlink()
    return outputs


@pytest.mark.parametrize("how", ["auto", "all", "all-no-fork", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_next_run_gives_the_answer(lab: Lab, how: str, seed: int) -> None:
    chance = random.Random(f"{how}{seed}")
    offload, fork = how.partition("-")[0], ("--no-fork",) if "-" in how else ()
    prepare(lab)
    expected = sequential(lab)
    for _ in range(3):
        running = lab.start("--plan", "hybrid", *fork, offload=offload)
        deadline = time.monotonic() + chance.uniform(0.3, 5.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            while time.monotonic() < deadline:
                if chance.random() < 0.2:
                    kill_one(lab, running.process.pid, chance)
                running.process.wait(timeout=chance.uniform(0.1, 0.5))
                break
        with contextlib.suppress(ProcessLookupError):
            running.signal(signal.SIGKILL)
        running.end()
    finished = lab.committed()
    before = {name: len(lab.executions(name)) for name in NAMES}
    done = lab.run("--plan", "hybrid", *fork, offload=offload)
    assert done.code == 0, done.err
    assert lab.outputs() == expected, done.err
    assert contents(lab) == lab.after, done.err
    repeated = {name for name in NAMES if len(lab.executions(name)) > before[name]}
    assert not {NAMES[i - 1] for i in finished if 1 <= i <= len(NAMES)} & repeated, done.err
