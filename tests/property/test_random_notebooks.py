"""For random notebooks the ancestors of every cell suffice, and every way to run them gives the sequential answer."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import random_notebooks

from cases.harness import CONFIGURATIONS, run
from cases.loader import Case
from cases.oracle import Replayer, difference
from jup2kub.analyse import analyse
from jup2kub.model.flow import FlowGraph
from jup2kub.model.notebook import Cell, Notebook


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    replayer = Replayer()
    yield replayer
    replayer.close()


def notebook(seed: int, replayer: Replayer) -> tuple[Case, list[dict[str, object]]]:
    """Return notebook `seed` without the cells that raise, and what each of the others does."""
    case = Case(f"random{seed}", "", "random", random_notebooks.cells(seed))
    while True:
        [done] = replayer.runs(case, [list(range(len(case.cells)))])
        assert isinstance(done, list), done
        good = tuple(c for c, d in zip(case.cells, done, strict=True) if not d["error"])
        if len(good) == len(case.cells):
            return case, done
        case = replace(case, cells=good)


def graph_of(case: Case) -> FlowGraph:
    cells = tuple(Cell(i, str(i), "code", s, python=s) for i, s in enumerate(case.cells))
    return analyse(Notebook(cells, "python3", "python", {}), mode="static")


def insufficient(case: Case, whole: list[dict[str, object]], replayer: Replayer) -> list[str]:
    """Return in words which cells do not get what they need from the cells before them in the graph."""
    graph = graph_of(case)
    case = replace(case, needs=frozenset((e.source, e.target) for e in graph.edges))
    slices = [[*case.ancestors(j), j] for j in range(len(case.cells))]
    wanted = [s for s in slices if len(s) <= s[-1]]
    found = []
    for cells, done in zip(wanted, replayer.runs(case, wanted), strict=True):
        told = difference(whole[cells[-1]], done)
        if told:
            found.append(f"{case.name}, cell {cells[-1]} after {cells[:-1]}: {told}\n{_text(case)}")
    return found


def _text(case: Case) -> str:
    return "\n".join(f"[{i}] {c}" for i, c in enumerate(case.cells))


def _span(first: int, count: int, slow: bool) -> object:
    return pytest.param(range(first, first + count), marks=[pytest.mark.slow] if slow else [], id=f"{first}")


@pytest.mark.parametrize("seeds", [_span(0, 6, False), *(_span(6 + 100 * i, 100, True) for i in range(4))])
def test_ancestors_suffice(seeds: range, replayer: Replayer) -> None:
    found = [text for seed in seeds for text in insufficient(*notebook(seed, replayer), replayer)]
    assert not found, "\n\n".join(found)


def _reaches() -> list[object]:
    """Return the notebooks of `reaches.txt` in two lots, of the fast tests and of the slow ones."""
    text = (Path(__file__).parent / "reaches.txt").read_text()
    lots = []
    for part in text.split("\n---\n"):
        lines = (line.partition(" | ") for line in part.splitlines() if " | " in line)
        lots.append([Case(name.strip(), "", "reaches", _cells(cells)) for name, _, cells in lines])
    return [pytest.param(lots[0], id="mended"), pytest.param(lots[1], id="others", marks=pytest.mark.slow)]


def _cells(text: str) -> tuple[str, ...]:
    return tuple(c.strip().replace(" ; ", "\n").replace("⏎", "\n") for c in text.split(" ## "))


@pytest.mark.parametrize("cases", _reaches())
def test_every_reach_into_another_cell_is_seen(cases: list[Case], replayer: Replayer) -> None:
    found = []
    for case in cases:
        [whole] = replayer.runs(case, [list(range(len(case.cells)))])
        assert isinstance(whole, list), whole
        assert not any(d["error"] for d in whole), case.name
        found += insufficient(case, whole, replayer)
    assert not found, "\n\n".join(found)


FORCED = tuple(c for c in CONFIGURATIONS if c.offload == "all" and c.workers > 1)
"""Every cell a step of its own, two and four at a time."""


@pytest.mark.kernel
@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=[] if s == 8 else pytest.mark.slow) for s in range(48)]
)
def test_every_way_to_run_gives_the_sequential_answer(seed: int, replayer: Replayer, tmp_path: Path) -> None:
    case, _ = notebook(seed, replayer)
    how = FORCED[seed % len(FORCED)]
    found = [
        f"run {i}: {r.state}: {r.text}" for i, r in enumerate(run(case, how, tmp_path)) if r.state != "equal"
    ]
    assert not found, f"notebook {seed}, {how}\n" + "\n".join(found) + "\n" + _text(case)


def test_the_same_seed_gives_the_same_notebook_and_every_statement_parses() -> None:
    assert random_notebooks.cells(7) == random_notebooks.cells(7)
    for seed in range(300):
        for cell in random_notebooks.cells(seed):
            ast.parse(cell)
