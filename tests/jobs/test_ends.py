"""How runs end at a server: values that cannot leave, exceptions, effects that may have happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jup2kub.away import execute
from jup2kub.compose import Execution, Settings
from jup2kub.errors import EnvironmentProblem

from . import quick
from .test_faults import settings, texts

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def run(wanted: Settings, tmp_path: Path, name: str = "lab") -> Execution:
    with quick.lab(tmp_path / "store", tmp_path / name) as away:
        return execute(wanted, lambda told: None, away, name, tmp_path)


def prepared(tmp_path: Path, *cells: str) -> Settings:
    made = settings(tmp_path / "project", cells)
    return replace(made, store=tmp_path / "store", offload="all", workers=2)


def test_what_cannot_leave_its_kernel_is_made_by_the_main_line(tmp_path: Path) -> None:
    cells = ("n = 5", "#| step: g\ng = (i for i in range(n))\nq = [1]", "print(sum(g), q)")
    assert texts(run(prepared(tmp_path, *cells), tmp_path)) == ["", "", "10 [1]\n"]


def test_the_first_exception_ends_the_notebook_and_files_of_later_cells_do_not_come(tmp_path: Path) -> None:
    cells = ("n = 1", "#| step: a\nx = 1 / 0", "#| step: b\n_ = open('late.txt', 'w').write('late')")
    wanted = prepared(tmp_path, *cells)
    done = run(wanted, tmp_path)
    error = done.outcomes[1].error
    assert (done.stopped, error and error.ename) == (1, "ZeroDivisionError")
    assert not (wanted.notebook.parent / "late.txt").exists()


def test_files_go_where_they_are_read_and_come_back(tmp_path: Path) -> None:
    cells = (
        "import os",
        "#| step: a\n_ = open('a.txt', 'w').write('A')",
        "#| step: b\nos.makedirs('deep/er')\n_ = open('deep/er/b.txt', 'w').write('B')",
        "print(open('a.txt').read() + open('deep/er/b.txt').read(), sorted(os.listdir('.')))",
        "#| step: c\n_ = open('a.txt', 'a').write('2')",
        "print(open('a.txt').read())",
    )
    wanted = prepared(tmp_path, *cells)
    shown = texts(run(wanted, tmp_path))
    assert shown[3] == "AB ['a.txt', 'deep', 'nb.ipynb']\n"
    assert shown[5] == "A2\n"
    assert (wanted.notebook.parent / "a.txt").read_text() == "A2"
    assert (wanted.notebook.parent / "deep" / "er" / "b.txt").read_text() == "B"


def test_what_may_have_acted_is_not_done_again_unasked(tmp_path: Path) -> None:
    acted, well = tmp_path / "acted", tmp_path / "well"
    act = (
        f"import os, subprocess\nsubprocess.run(['sh', '-c', 'echo x >> {acted}'])\n"
        f"if not os.path.exists({str(well)!r}): os.abort()"
    )
    wanted = replace(prepared(tmp_path, "n = 1", act, "print('after', n)"), offload="auto")
    for name in ("first", "second"):
        with pytest.raises(EnvironmentProblem) as caught:
            run(wanted, tmp_path, name)
        assert caught.value.code == "J2K602"
        assert acted.read_text() == "x\n"
        well.touch()
    done = run(replace(wanted, redo=frozenset({1})), tmp_path, "third")
    assert texts(done)[-1] == "after 1\n"
    assert acted.read_text() == "x\nx\n"
