"""What the command line refuses before anything runs: exit code, code, and the way out; never a traceback."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from jup2kub.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `nb.ipynb` of one code cell after a text, and things that are no notebooks."""
    monkeypatch.chdir(tmp_path)
    cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("print(1)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "nb.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "list.ipynb").write_text("[1, 2]")
    (tmp_path / "zero.ipynb").write_bytes(b"")
    (tmp_path / "utf16.ipynb").write_bytes(b"\xff\xfe{")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "exit_code", "code", "hint"),
    [
        ("run .", 2, "J2K201", "name a notebook"),
        ("run folder.ipynb", 2, "J2K201", "name a notebook"),
        ("run absent.ipynb", 2, "J2K201", "check the path"),
        ("run list.ipynb", 2, "J2K203", "open it in Jupyter"),
        ("run zero.ipynb", 2, "J2K200", "open it in Jupyter"),
        ("run utf16.ipynb", 2, "J2K201", "open it in Jupyter"),
        ("run nb.ipynb --redo 0", 2, "J2K200", "count all cells"),
        ("run nb.ipynb --skip 2", 2, "J2K200", "count all cells"),
        ("run nb.ipynb -o nb.ipynb", 2, "J2K230", "choose another"),
        ("run nb.ipynb -o absent/out.ipynb", 3, "J2K231", "choose a folder"),
        ("run nb.ipynb --wrokers 3", 2, "J2K200", "did you mean `--workers`?"),
        ("run nb.ipynb --workers 0", 2, "J2K200", "tells more"),
        ("run nb.ipynb --kernel nobody", 3, "J2K401", "install it"),
        ("plan nb.ipynb --store nb.ipynb", 3, "J2K504", "name an empty or a new folder"),
        ("plan folder.ipynb", 2, "J2K201", "check the path"),
        ("verify nb.ipynb --report nb.ipynb", 3, "J2K231", "name one"),
        ("status 0123", 2, "J2K240", "jup2kub runs"),
        ("statsu", 2, "J2K200", "did you mean `status`?"),
        ("clean --keep much", 2, "J2K200", "tells more"),
    ],
)
def test_refused_with_a_reason_and_a_way_out(
    words: str, exit_code: int, code: str, hint: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = [] if "--store" in words or words == "statsu" else ["--store", str(folder / "store")]
    assert main([*words.split(), *store]) == exit_code
    told = capfd.readouterr()
    assert told.err.startswith(f"error: {code} ")
    assert hint in told.err.partition("\nhint: ")[2]
    assert "Traceback" not in told.err
    assert told.out == ""
