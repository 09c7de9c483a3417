"""Streams that are closed, full or read no more: the work is done all the same, and exit codes keep their meaning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.kernel


@pytest.fixture
def words(tmp_path: Path) -> str:
    """The command line of a run, as a shell takes it; `out.ipynb` is its result."""
    cells = [nbformat.v4.new_code_cell("print(1)\nimport time\ntime.sleep(1.1)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "nb.ipynb")
    return f"{sys.executable} -m jup2kub run nb.ipynb -o out.ipynb --store store"


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell line with pipes that fail as they do for users."""
    line = ["bash", "-o", "pipefail", "-c", text]
    return subprocess.run(
        line, cwd=folder, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    "streams", ["| true", "2>&1 >/dev/null | true", ">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"]
)
def test_run_does_not_depend_on_who_listens(words: str, streams: str, tmp_path: Path) -> None:
    done = shell(f"{words} {streams}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == "1\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_behind_stdout_is_told(words: str, tmp_path: Path) -> None:
    done = shell(f"{words} >/dev/full", tmp_path)
    assert done.returncode == 3
    assert "error: J2K233 " in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out.ipynb").exists()


def test_error_is_told_by_its_exit_code_though_nobody_reads_it(words: str, tmp_path: Path) -> None:
    (tmp_path / "nb.ipynb").write_text("no notebook")
    assert shell(f"{words} 2>&-", tmp_path).returncode == 2
