"""Which environment variables a cell is seen to read."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jup2kub.kernel.envreads import Reads


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    monkeypatch.setenv("PLAIN", "1")
    before = os.environ._data  # type: ignore[attr-defined]
    yield Reads()
    os.environ._data = dict(os.environ._data)  # type: ignore[attr-defined]
    os.environb._data = os.environ._data  # type: ignore[attr-defined]
    assert type(before) is dict


@pytest.mark.parametrize(
    ("action", "names"),
    [
        (lambda: os.environ["PLAIN"], ["PLAIN"]),
        (lambda: os.environ.get("UNSET_HERE"), ["UNSET_HERE"]),
        (lambda: os.getenv("PLAIN", "x"), ["PLAIN"]),
        (lambda: "PLAIN" in os.environ, ["PLAIN"]),
        (lambda: os.environb.get(b"PLAIN"), ["PLAIN"]),
        (lambda: os.path.expandvars("$PLAIN/x"), ["PLAIN"]),
        (lambda: dict(os.environ), ["*"]),
        (lambda: os.environ.copy(), ["*"]),
        (lambda: [k for k in os.environ if k.startswith("P")], ["*"]),
        (lambda: len(os.environ), ["*"]),
        (lambda: os.environ.__setitem__("MADE", "1"), []),
        (lambda: 1, []),
    ],
)
def test_what_is_read_is_told(reads: Reads, action: Callable[[], object], names: list[str]) -> None:
    reads.begin()
    action()
    found = reads.end()
    os.environ.pop("MADE", None)
    assert found == names or ("*" in names and "*" in found)


def test_it_hears_only_while_a_cell_runs_and_the_environment_works_as_ever(reads: Reads) -> None:
    reads.begin()
    with reads.deaf():
        assert os.environ["PLAIN"] == "1"
    assert reads.end() == []
    assert os.environ["PLAIN"] == "1"
    os.environ["MADE"] = "here"
    told = subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['MADE'])"], capture_output=True, check=True
    )
    assert told.stdout == b"here\n"
    del os.environ["MADE"]
    assert os.environ.get("MADE") is None
    data = os.environ._data  # type: ignore[attr-defined]
    assert type(pickle.loads(pickle.dumps(data))) is type(copy.deepcopy(data)) is dict
    assert reads.end() == []


def test_a_module_of_the_project_that_is_imported_counts(
    reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reads_at_import.py").write_text("import os\nMODE = os.environ.get('PLAIN')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    reads.begin()
    import reads_at_import  # type: ignore[import-not-found]

    found = reads.end()
    assert reads_at_import.MODE == "1"
    assert found == ["PLAIN"]


def test_a_library_that_configures_itself_when_imported_does_not(reads: Reads) -> None:
    program = (
        "import sys; from jup2kub.kernel.envreads import Reads\n"
        "r = Reads(); r.begin(); import numpy, matplotlib; print(r.end())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout == "[]\n"
