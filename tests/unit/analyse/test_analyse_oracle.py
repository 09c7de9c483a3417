"""The edges suffice: each cell gives the same answer when only its ancestors have run before it."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import warnings
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from notebooks_as_text import Analyse, ancestors
from snippets import load

SNIPPETS = load()
SHELL_BOUND = {
    "outhist",
    "out2",
    "outnone",
    "outalias",
    "display_",
    "figure_obj",
    "plots",
    "timeitleak",
    "reprclass",
}
"""They need the kernel's own numbering of cells or its display, or print times."""


def run(cells: list[str], wanted: list[int], folder: Path) -> tuple[str, dict[str, str]]:
    """Run the wanted cells in a new process and shell; return what the last one printed, and all variables as text."""
    folder.mkdir()
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            data = stream.read()
        os.waitpid(pid, 0)
        found: tuple[str, dict[str, str]] = pickle.loads(data)
        return found
    try:
        os.chdir(folder)
        warnings.resetwarnings()
        shell = InteractiveShell()
        printed = ""
        for index in wanted:
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                shell.run_cell(cells[index], store_history=True)
            printed = out.getvalue()
        hidden = shell.user_ns_hidden
        names = {n: text(v) for n, v in shell.user_ns.items() if n not in hidden and not n.startswith("_")}
        with os.fdopen(write, "wb") as stream:
            stream.write(pickle.dumps((printed, names)))
    finally:
        os._exit(0)


def text(value: object) -> str:
    """Return a value as text without addresses."""
    try:
        shown = repr(value)
    except NameError:
        return type(value).__name__
    return type(value).__name__ if " at 0x" in shown or "object" in shown else shown


@pytest.mark.parametrize("name", [n for n in SNIPPETS if n not in SHELL_BOUND])
def test_ancestors_suffice(name: str, graph: Analyse, tmp_path: Path) -> None:
    cells = SNIPPETS[name][2]
    found = graph(*cells)
    before = ancestors(found)
    for index in found.cells:
        wanted = [*sorted(before[index]), index]
        if len(wanted) == index + 1:
            continue
        whole = run(cells, list(range(index + 1)), tmp_path / f"whole{index}")
        slice_ = run(cells, wanted, tmp_path / f"slice{index}")
        numbers = str.maketrans("", "", "0123456789") if "Out[" in whole[0] else {}
        assert slice_[0].translate(numbers) == whole[0].translate(numbers)
        for variable in found.cells[index].writes - {v for v in found.cells[index].writes if v[0] == "@"}:
            assert slice_[1].get(variable) == whole[1].get(variable)
