"""Every case gives the sequential answer however it is run, and independent cells stay independent.

By default each case runs in one configuration, chosen by its name so that all configurations are met; `--full` runs all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .harness import Configuration, cell_edges, configurations, number, run
from .loader import Case, load_cases, write_case
from .report import order

Record = Callable[[str, object], None]


def runs(full: bool) -> list[Any]:
    """Return (case, configuration) pairs; one case in eight belongs to the short suite."""
    return [
        pytest.param(
            case,
            how,
            id=f"{case.name}-{how}",
            marks=[pytest.mark.kernel]
            if number(case) // 24 % 8 == 0 and not full
            else [pytest.mark.kernel, pytest.mark.slow],
        )
        for case in load_cases()
        for how in configurations(case, full)
    ]


def test_run_gives_the_sequential_answer(
    case: Case, how: Configuration, tmp_path: Path, record_property: Record
) -> None:
    results = run(case, how, tmp_path)
    worst = max(results, key=lambda r: ("equal", "refused", "different").index(r.state))
    record_property(f"run {how}", worst.state)
    if how.mode == "hybrid" and worst.state == "equal":
        _check_order(
            case,
            cell_edges(tmp_path / "project-1" / f"{case.name}.ipynb", tmp_path / "store", "hybrid"),
            "hybrid",
            record_property,
        )
    assert worst.state == "equal", "\n".join(f"run {i}: {r.state}: {r.text}" for i, r in enumerate(results))


@pytest.mark.parametrize("case", load_cases(), ids=lambda c: c.name)
def test_plan_orders_what_must_be_and_nothing_that_is_free(
    case: Case, tmp_path: Path, record_property: Record
) -> None:
    edges = cell_edges(write_case(case, tmp_path), tmp_path / "store", "static")
    _check_order(case, edges, "static", record_property)


def _check_order(case: Case, edges: frozenset[tuple[int, int]], mode: str, record_property: Record) -> None:
    lost, ordered = case.required - edges, case.free & edges
    record_property(f"order {mode}", order(case, edges))
    assert not lost, f"{mode}: not ordered although needed: {sorted(lost)}"
    assert not ordered, f"{mode}: ordered although independent: {sorted(ordered)}"
