"""An exported notebook as a workflow system runs it: tasks that share a folder, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jup2kub.cli.main import main

pytestmark = pytest.mark.kernel

BUSY = """
import os, time

def work(n):
    time.sleep(0.6)  # more than it takes to be worth keeping
    return sum(range(n))
"""


class Exported:
    """A notebook's export, with a shared folder that is ready for its tasks."""

    def __init__(self, folder: Path, cells: list[str], *more: str) -> None:
        project = folder / "home"
        project.mkdir()
        self.notebook = project / "study.ipynb"
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), self.notebook
        )
        target, store = folder / "study.yaml", folder / "own"
        words = [
            "export",
            str(self.notebook),
            "--to",
            "argo",
            "-o",
            str(target),
            "--image",
            "i",
            "--store",
            str(store),
        ]
        assert main([*words, "--workers", "2", "--offload", "all", "--plan", "static", *more]) == 0
        self.shared = folder / "study.files"
        project.rename(self.shared / "project")
        self.tasks = [p["name"] for p in json.loads((self.shared / "parts.json").read_bytes())["parts"]]
        self.told = ""

    def run(self, leave_out: Collection[str] = ()) -> int:
        """Run the tasks one after the other; return the exit code of the last."""
        code = -1
        for task in self.tasks:
            if task not in leave_out:
                code = self.task(task)
                assert code == 0 or task == "notebook", self.told
        return code

    def task(self, name: str) -> int:
        at = self.shared
        words = [sys.executable, "-W", "ignore", str(at / "program.pyz"), "--parts", str(at / "parts.json")]
        words += ["--task", name, "--project", str(at / "project"), "--store", str(at / "store")]
        words += ["--scratch", str(at / "scratch"), "--out", str(at / "out")]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=120, env={**os.environ, "JUPYTER_PATH": ""}
        )
        self.told = done.stderr
        return done.returncode

    def cells(self) -> list[Any]:
        return list(nbformat.read(self.shared / "out" / "study.ipynb", 4).cells)

    def texts(self) -> list[str]:
        return ["".join(o.get("text", o.get("ename", "")) for o in c.outputs) for c in self.cells()]

    def from_store(self) -> list[int]:
        return [i for i, c in enumerate(self.cells()) if c.metadata["jup2kub"].get("source") == "store"]


@pytest.mark.slow
def test_the_last_task_gives_the_notebook_and_takes_what_was_made(tmp_path: Path) -> None:
    cells = [BUSY, "a = [work(10)]\nprint('a', a)", "b = [work(20)]\nprint('b', b)"]
    cells += [
        "c = a + b + [work(5)]\nprint(c, c[0] is a[0])",
        "open('out.txt', 'w').write(str(c))\nprint(os.listdir())",
    ]
    made = Exported(tmp_path, cells)
    assert made.run() == 0
    assert made.texts()[:4] == ["", "a [45]\n", "b [190]\n", "[45, 190, 10] True\n"]
    assert {1, 2, 3} <= set(made.from_store())
    assert (made.shared / "out" / "out.txt").read_text() == "[45, 190, 10]"
    assert not (made.shared / "project" / "out.txt").exists()
    # Once more, as another workflow of the same name would: cells with effects run, the rest is there.
    assert made.run() == 0
    assert made.texts()[3] == "[45, 190, 10] True\n"


def test_the_answer_is_the_last_tasks_own_whatever_the_others_did(tmp_path: Path) -> None:
    made = Exported(tmp_path, [BUSY, "a = work(10)", "b = work(20) + a", "print(a, b)"])
    assert made.run(leave_out=made.tasks[:-1]) == 0
    assert made.texts()[3] == "45 235\n"
    assert made.from_store() == []


@pytest.mark.slow
def test_a_cell_that_raises_fails_in_its_turn(tmp_path: Path) -> None:
    made = Exported(tmp_path, [BUSY, "print('before')", "x = work(3) / 0", "print('after')"])
    assert made.run() == 1
    assert made.texts() == ["", "before\n", "ZeroDivisionError", ""]


@pytest.mark.slow
def test_what_a_task_made_without_an_unforeseen_change_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a table that is wrong, cell 2 changes nothing; so the task of cell 3 does not run it."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "careless.py").write_text("def total(xs):\n    xs.append(100)\n    return 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    table = tmp_path / "wrong.json"
    wrong = {"packages": {"careless": {"pure": True}}, "functions": {"careless.*": {"result": "atom"}}}
    table.write_text(json.dumps(wrong))
    cells = [
        BUSY + "import careless",
        "xs = [1, 2]",
        "n = careless.total(xs)",
        "m = (work(4), len(xs))",
        "print(m)",
    ]
    made = Exported(tmp_path, cells, "--annotations", str(table))
    parts = {p["name"]: p["runs"] for p in json.loads((made.shared / "parts.json").read_bytes())["parts"]}
    assert 2 not in parts["cells-3"]
    assert made.run() == 0
    assert made.texts()[4] == "(6, 3)\n"


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    made = Exported(tmp_path, [BUSY, "a = work(10)", "b = work(20) + a"])
    assert made.task("cells-9") == 2
    assert "J2K741" in made.told
    assert "cells-1" in made.told


def test_a_notebook_without_heavy_cells_is_refused(tmp_path: Path) -> None:
    notebook = tmp_path / "light.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), notebook)
    words = ["export", str(notebook), "--to", "kfp", "-o", str(tmp_path / "f.yaml"), "--image", "i"]
    assert main([*words, "--store", str(tmp_path / "store")]) == 2
    assert not (tmp_path / "f.yaml").exists()


def test_a_cell_that_may_have_acted_on_the_world_does_not_act_again(tmp_path: Path) -> None:
    """The last task is lost while a process that it has started runs; its next try says so."""
    acts = "import subprocess, signal\nsubprocess.run(['touch', '-a', 'x'])\nos.kill(os.getppid(), signal.SIGKILL)"
    made = Exported(tmp_path, [BUSY, "a = work(10)", acts])
    assert made.task("notebook") == -9
    assert made.task("notebook") != 0
    assert "J2K602" in made.told
    assert "another `--name`" in made.told
