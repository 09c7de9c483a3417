"""The first and the last moments of the program: Ctrl-C before it is loaded, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jup2kub.cli import entry
from jup2kub.errors import EXIT_INTERRUPTED

SIGNALLED = """
import os, sys

class Hook:
    # Sends this process a signal when a module is looked for: a moment that does not depend on how fast it is.
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Hook())
sys.modules.pop("{module}", None)
sys.argv = ["jup2kub", *{words}]
from jup2kub.cli.entry import main
main()
"""
ENDED = """
import atexit, sys, threading
from jup2kub.cli.entry import leave
go = threading.Event()
threading.Thread(target=lambda: (go.wait(10), print("thread"))).start()
atexit.register(lambda: print("registered"))
atexit.register(go.set)
print("unflushed", end=" ")
go.set()
leave({code})
"""


def python(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": str(folder), "JUP2KUB_STORE": str(folder / "store")}
    command = [sys.executable, "-c", text]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def notebook(folder: Path) -> Path:
    spec = {"kernelspec": {"name": "python3", "display_name": "p", "language": "python"}}
    path = folder / "nb.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": spec, "cells": []}))
    return path


def test_the_exit_code_is_the_documented_one() -> None:
    assert entry.INTERRUPTED == EXIT_INTERRUPTED


@pytest.mark.kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize(
    "module", ["jup2kub.cli.streams", "jup2kub.cli.ahead", "argparse", "jup2kub.cli.run", "jup2kub.compose"]
)
def test_interrupt_while_the_program_is_loaded_is_no_traceback(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Before and after the kernel is started; it does not stay."""
    words = ["run", str(notebook(tmp_path)), "-o", str(tmp_path / "out.ipynb")]
    done = python(SIGNALLED.format(module=module, number=int(number), words=words), tmp_path)
    assert done.returncode == EXIT_INTERRUPTED, done.stderr
    assert done.stderr.startswith("interrupted")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("jup2kub-stacks-*")), "the kernel's process was left behind"
    assert not (tmp_path / "out.ipynb").exists()


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    text = SIGNALLED.format(module="jup2kub.cli.main", number=int(signal.SIGINT), words=["--version"])
    done = python("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + text, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 3])
def test_the_end_is_pythons(code: int, tmp_path: Path) -> None:
    """Threads are waited for, functions for the end are called, and what was printed is written."""
    done = python(ENDED.format(code=code), tmp_path)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == "unflushed thread\nregistered\n"


def test_output_that_cannot_be_written_at_the_end_is_told_by_the_exit_code(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    text = "from jup2kub.cli.entry import leave\nprint('x')\nleave(0)"
    with open("/dev/full", "w") as full:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, timeout=60)
    assert (done.returncode, done.stderr) == (entry.UNWRITTEN, b"")


def test_a_profiler_gets_the_end_it_waits_for() -> None:
    sys.setprofile(lambda *_: None)
    try:
        with pytest.raises(SystemExit) as leaving:
            entry.leave(7)
    finally:
        sys.setprofile(None)
    assert leaving.value.code == 7


def test_little_is_loaded_before_the_kernel_starts() -> None:
    """Each of these takes milliseconds in which no kernel would be on its way."""
    text = "import jup2kub.cli.entry, jup2kub.cli.streams, jup2kub.cli.ahead, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.split())
    assert not loaded & {"argparse", "asyncio", "difflib", "gettext", "traceback", "jup2kub.compose"}
