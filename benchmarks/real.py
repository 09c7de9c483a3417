"""Notebooks as scientists write them: are they equal, how much faster, and what does watching them cost?"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import spans, tool
from benchmarks.measure import Broken, call, environment

ROOT = Path(__file__).parent.parent
DIFFERENT = 4
"""Exit code of `jup2kub verify` when a cell differs."""


@dataclass(frozen=True)
class Row:
    """What was found of one notebook. All times in seconds, of whole processes."""

    name: str
    cells: int
    equal: bool
    counts: dict[str, int]
    """Comparisons by verdict."""
    nbclient: float
    first: float
    """jup2kub, from a store that knows nothing."""
    learned: float
    """jup2kub with the profile of the first run and none of its results."""
    steps: int
    """Cells that left the main line in the `learned` run."""
    between: float
    """Share of the serial run's time that is spent between cells: validation, and all other bookkeeping."""
    validation: float
    """Share of the processor's time of the whole serial run that goes into validation: no noise of a busy machine."""


def measure(folder: Path, names: Sequence[str] = ()) -> tuple[list[Row], list[str]]:
    """Build the notebooks in `folder` and measure those whose name begins with one of `names` (none: all).

    Returns the rows, and what was broken: a notebook that fails does not stop the others.
    """
    built = folder / "built"
    done = subprocess.run(
        [sys.executable, "-m", "tests.notebooks.build", str(built)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise Broken(f"the notebooks could not be built: {done.stderr[-800:]}")
    paths = sorted(built.glob("*.ipynb"))
    rows: list[Row] = []
    broken: list[str] = []
    for path in paths:
        if names and not path.stem.startswith(tuple(names)):
            continue
        try:
            rows.append(one(path, folder))
        except Broken as error:
            broken.append(f"{path.stem}: {error}")
    return rows, broken


def one(path: Path, folder: Path) -> Row:
    """Measure one notebook, each run from a fresh copy of its folder."""

    def fresh(purpose: str) -> Path:
        place = folder / f"{path.stem}-{purpose}"
        shutil.copytree(path.parent, place)
        return place

    ours = [tool("jup2kub"), "run", path.name, "-o", "out.ipynb"]
    place = fresh("nbclient")
    reference = call([tool("jupyter-execute"), path.name, "--output=out"], place)
    cells = len(spans(place))
    place = fresh("serial")
    before = processor()
    call([*ours, "--plan", "serial", "--json"], place)
    used = processor() - before
    between, validation = between_cells(place), told(place)["validation_seconds"] / used
    place = fresh("planned")
    first = call(ours, place)
    learned = call([*ours, "--fresh"], place)
    steps = sum(
        c["metadata"].get("jup2kub", {}).get("where") == "step"
        for c in json.loads((place / "out.ipynb").read_text())["cells"]
    )
    certificate = verify(path, fresh("verify"))
    row = Row(
        path.stem,
        cells,
        bool(certificate["equal"]),
        dict(certificate["counts"]),
        reference,
        first,
        learned,
        steps,
        between,
        validation,
    )
    for purpose in ("nbclient", "serial", "planned", "verify"):
        shutil.rmtree(folder / f"{path.stem}-{purpose}")
    return row


def between_cells(place: Path) -> float:
    """Return the share of the time from the first cell's start to the last one's end that no cell was running."""
    cells = spans(place)
    whole = cells[-1][1] - cells[0][0]
    return 1 - sum(end - start for start, end in cells) / whole if whole > 0 else 0.0


def processor() -> float:
    """Return the seconds of the processor that the ended commands have used, kernels included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def told(place: Path) -> dict[str, Any]:
    """Return what `run --json` said last."""
    lines = (place / "said.txt").read_text(encoding="utf-8").splitlines()
    result: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    return result


def verify(path: Path, place: Path) -> dict[str, Any]:
    """Return the certificate. Raises Broken if there is none."""
    done = subprocess.run(
        [tool("jup2kub"), "verify", path.name, "--json"],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, DIFFERENT):
        raise Broken(f"verify {path.name} gave exit code {done.returncode}: {done.stderr[-800:]}")
    certificate: dict[str, Any] = json.loads(done.stdout)
    return certificate
