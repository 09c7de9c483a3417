"""Definitions that are split off from a cell: every kernel makes them from their own statements, before the rest runs."""

from __future__ import annotations

from dataclasses import replace

from jup2kub.agent.kernel import CellResult, Kernel
from jup2kub.agent.session import Session
from jup2kub.model.plan import CellPlan


async def define(session: Session, kernel: Kernel, cell: CellPlan) -> None:
    """Make in `kernel` the definitions of the cell that can do without the rest of it.

    Raises RequestFailed if a statement raises, as it would have in the cell.
    """
    if cell.lifted:
        source, count = session.sources[cell.index], session.counts[cell.index]
        await kernel.define(cell.index, count, source, cell.lifted_lines, session.map_loops(cell))


def as_whole(cell: CellPlan, result: CellResult) -> CellResult:
    """Return the result of a cell that ran without its definitions as that of the whole cell."""
    return replace(result, facts=replace(result.facts, bound=result.facts.bound | cell.lifted))
