"""The kernel that is started before the program is loaded: used if it is the right one, and never left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jup2kub.agent.spawn import Spawned
from jup2kub.cli import ahead
from jup2kub.cli.main import main

pytestmark = pytest.mark.kernel


def notebook(folder: Path, source: str = "import os\nprint(os.getpid())", kernel: str = "python3") -> Path:
    path = folder / "nb.ipynb"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }
    spec = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": spec, "cells": [cell]}))
    return path


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Spawned]:
    """Return a list that will hold what was started ahead."""
    begun: list[Spawned] = []
    begin = ahead.begin

    def begin_and_tell(words: Sequence[str]) -> Spawned | None:
        started = begin(words)
        assert started is not None
        begun.append(started)
        return started

    monkeypatch.setattr(ahead, "begin", begin_and_tell)
    return begun


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    "more", [("--help",), ("-h",), ("-p", "a=1,2"), ("--sweep", "sets.csv"), ("--sweep=sets.csv",)]
)
def test_no_kernel_is_started_where_one_may_not_be_wanted(tmp_path: Path, more: tuple[str, ...]) -> None:
    """Help, and runs with several parameter sets."""
    assert ahead.begin(["run", str(notebook(tmp_path)), *more]) is None
    assert ahead.begin(["run", str(tmp_path / "none.ipynb")]) is None
    assert ahead.begin(["run", str(notebook(tmp_path)), "--kernel", "no-such-kernel"]) is None


def test_the_kernel_started_ahead_runs_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No second one is started."""
    begun = watched(monkeypatch)
    out = tmp_path / "out.ipynb"
    words = ["run", str(notebook(tmp_path)), "-o", str(out), "--store", str(tmp_path / "store")]
    assert main(words) == 0
    said = json.loads(out.read_text())["cells"][0]["outputs"][0]["text"]
    assert int("".join(said)) == begun[0].process.pid
    assert gone(begun[0].process.pid)


@pytest.mark.parametrize(
    "wrong", [("--no-such-option",), ("--workers", "0"), ("-o", "{folder}/no/out.ipynb")]
)
def test_a_kernel_that_nobody_takes_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    """Whatever ends the program before it runs the notebook."""
    begun = watched(monkeypatch)
    words = ["run", str(notebook(tmp_path)), *(w.format(folder=tmp_path) for w in wrong)]
    assert main([*words, "--store", str(tmp_path / "store")]) != 0
    assert gone(begun[0].process.pid)
    assert not Path(begun[0].stacks).exists()


def test_a_wrong_guess_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that looks like the notebook is another one, in another folder."""
    (tmp_path / "other").mkdir()
    other = notebook(tmp_path / "other", "1 / 0")
    begun = watched(monkeypatch)
    mine = notebook(tmp_path, "import os\nprint(os.getpid(), os.getcwd())")
    other.rename(tmp_path / "other" / "out.ipynb")
    out = tmp_path / "other" / "out.ipynb"
    assert main(["run", "-o", str(out), str(mine), "--store", str(tmp_path / "store")]) == 0
    said = "".join(json.loads(out.read_text())["cells"][0]["outputs"][0]["text"]).split()
    assert said[1] == str(tmp_path)
    assert int(said[0]) != begun[0].process.pid
    assert gone(begun[0].process.pid)
