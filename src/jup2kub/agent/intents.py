"""Before a cell acts on the world it is said so, exclusively: what may have acted is never repeated by itself."""

from __future__ import annotations

import secrets
import time

from jup2kub.agent.session import Session
from jup2kub.errors import Interrupted
from jup2kub.model.plan import CellPlan

ACTS = frozenset({"network", "process", "device", "outside", "shell"})
"""Effects that are announced before and never repeated by themselves."""
WORLD = frozenset({"network", "device", "outside"})


def announce(session: Session, cell: CellPlan) -> None:
    """Say that the main line comes to the cell.

    Raises Interrupted: J2K603 where another main line has taken over, J2K602 where an attempt of this run, earlier or
    elsewhere, may have acted already, J2K601 after a cancel.
    """
    session.fence()
    if not cell.effects & ACTS:
        return
    run, index, store = session.terms.run, cell.index, session.store
    tries = {generation: r for (generation, other), r in store.intents(run).items() if other == index}
    asked = index in session.terms.redo and all(r.get("asked") != session.terms.asked for r in tries.values())
    if tries and not asked and not _harmless(session, cell):
        raise _may_have_acted(cell)
    generation = max(tries, default=-1)
    record = {"cell": index, "started": time.time(), "asked": session.terms.asked}
    mine = {**record, "claim": secrets.token_hex(8)}
    while True:
        generation += 1
        done = store.intent(run, generation, index, mine)
        if done.won:
            return
        if done.record is not None and done.record.get("status") == "cancelled":
            raise Interrupted("J2K601", "the run was cancelled", "start it again with `jup2kub run`")
        if done.record is not None:
            # Another main line has come to the cell between the two requests, and nobody can tell which is to go on.
            raise _may_have_acted(cell)


def _may_have_acted(cell: CellPlan) -> Interrupted:
    return Interrupted(
        "J2K602",
        f"cell {cell.index} may have acted already ({', '.join(sorted(cell.effects & ACTS))})",
        f"look whether it has; then `jup2kub run` with `--redo {cell.index}` or `--skip {cell.index}`",
    )


def _harmless(session: Session, cell: CellPlan) -> bool:
    """Whether a finished cell, whose values could not be kept, may act once more by itself."""
    latest = session.store.latest(session.terms.run, session.slot(cell.index).step)
    return latest is not None and latest[1]["status"] == "ok" and not cell.effects & WORLD
