"""Homes: kernels kept alive because something in them cannot leave; the cells that read it go there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.recipe import Op, recipe
from jup2kub.agent.session import Session
from jup2kub.agent.steps import Elsewhere, prepare
from jup2kub.model.plan import CellPlan


@dataclass(frozen=True)
class Origin:
    """What a step's kernel had when it began."""

    at: int | None = None
    """It was a fork of the main kernel at this cell; None = it was fresh."""
    absent: frozenset[str] = frozenset()
    """Names that were pending then."""
    made: frozenset[tuple[int, str]] = frozenset()
    """Versions (cell, name) that were loaded or made in it since."""

    def has(self, cell: int, name: str) -> bool:
        """Return whether the version of `name` that `cell` made is in the kernel, if no later one was put over it."""
        if (cell, name) in self.made:
            return True
        return self.at is not None and cell < self.at and name not in self.absent

    def admits(self, op: Op, writes: Iterable[str]) -> bool:
        """Return whether the act would put no earlier version over a later one; `writes`: what its cell makes."""
        names = op.names or set(writes)
        newest = max((cell for cell, _ in self.made), default=-1 if self.at is None else self.at - 1)
        if op.replay:
            return op.cell > newest
        return not any(name in names and cell > op.cell for cell, name in self.made)

    def with_made(self, cell: int, names: Iterable[str]) -> Origin:
        """Return the origin of the kernel after `cell` has made versions of `names` in it."""
        return Origin(self.at, self.absent, self.made | {(cell, n) for n in names})


@dataclass
class Home:
    """A kernel that holds no worker while nobody is in it."""

    kernel: Kernel
    origin: Origin
    door: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def enter(self, session: Session, cell: CellPlan) -> Kernel:
        """Wait for those before, and bring what `cell` reads and the kernel lacks. `leave` must follow.

        Raises Elsewhere, and KernelDied, Unloadable and ReplayFailed as `prepare` does.
        """
        await self.door.acquire()
        try:
            ops = recipe([cell.index], session.needs, session.available, session.refers, self.origin.has)
            if not all(self.origin.admits(op, session.cells[op.cell].writes) for op in ops):
                raise Elsewhere
            await prepare(session, self.kernel, ops)
        except BaseException:
            self.door.release()
            raise
        for op in ops:
            self.origin = self.origin.with_made(op.cell, op.names or session.cells[op.cell].writes)
        return self.kernel

    def leave(self, cell: CellPlan) -> None:
        """The cell has run."""
        self.origin = self.origin.with_made(cell.index, cell.writes)
        self.door.release()
