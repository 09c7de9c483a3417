"""Input files that change while a run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jup2kub.agent.inputs import Inputs
from jup2kub.agent.observed import observe
from jup2kub.model.facts import Facts


def told(folder: Path, cells: dict[int, Facts], change: str | None, met: dict[int, Facts]) -> list[str]:
    """Return what is said when `in.csv` is given the content `change` after the cells of `met` have read it."""
    inputs, said = Inputs(), []
    (folder / "in.csv").write_text("1")
    for cell, facts in met.items():
        inputs.met(cell, observe(facts, folder, {}))
    if change is None:
        (folder / "in.csv").unlink()
    else:
        (folder / "in.csv").write_text(change)
        os.utime(folder / "in.csv", ns=(5, 5))
    inputs.report(folder, cells.values(), said.append)
    return said


READS = Facts(files_read=("in.csv",))


@pytest.mark.parametrize(
    ("change", "count"), [("2", 1), (None, 1), ("1", 0)], ids=["other", "gone", "touched"]
)
def test_changed_input_is_told_once_by_the_cell_that_read_it_first(
    tmp_path: Path, change: str | None, count: int
) -> None:
    said = told(tmp_path, {2: READS, 3: READS}, change, {2: READS, 3: READS})
    assert len(said) == count
    assert all(text.startswith("in.csv was changed by somebody else after cell 2 ") for text in said)


def test_file_that_a_later_cell_writes_is_the_notebooks_own(tmp_path: Path) -> None:
    assert told(tmp_path, {2: READS, 3: Facts(files_written=("in.csv",))}, "2", {2: READS}) == []


def test_folders_and_absent_files_are_left_to_the_keys(tmp_path: Path) -> None:
    listing = Facts(files_read=(".", "absent.csv"))
    assert told(tmp_path, {1: listing}, "2", {1: listing}) == []
