"""What the main kernel must save, so that a kernel elsewhere can be given all that a cell reads."""

from __future__ import annotations

from jup2kub.agent.hands import Line
from jup2kub.agent.recipe import Op, recipe, shippable
from jup2kub.agent.saving import save
from jup2kub.agent.session import Session
from jup2kub.model.plan import CellPlan

CHEAP = 0.5
"""Seconds; what took less is made again rather than saved."""


async def save_dear(session: Session, line: Line, cell: CellPlan) -> tuple[Op, ...] | None:
    """Save what the main kernel holds, the cell reads, and would be dear to make again; the rest is replayed.

    Returns the recipe of the cell's kernel. None = something can neither be saved nor replayed.
    """
    dear: dict[int, set[str]] = {}

    def available(producer: int, name: str) -> bool:
        if session.available(producer, name) or producer in line.out:
            return True
        made, outcome = session.cells[producer], session.outcomes.get(producer)
        cheap = outcome is None or (outcome.seconds < CHEAP and made.repeatable)
        if cheap or not shippable(name) or name in made.definitions or name in line.pending:
            return False
        dear.setdefault(producer, set()).add(name)
        return True

    ops = recipe([cell.index], session.needs, available, session.refers)
    for producer, names in dear.items():
        saved, stuck = await save(session, line.kernel, sorted(names))
        if stuck:
            return None
        session.hold(producer, saved)
    return ops
