"""Kernels of an agent: one that is started before it is asked for, and the last step's, which another step may go on in.

A kernel is used again only forward: every cell that it has run or loaded from is earlier in the notebook than the step.
Before that it loses what the step does not need, so that the step finds what it would find in a fresh one, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from jup2kub.agent.kernel import Kernel, OnOutput
from jup2kub.agent.launch import Launch
from jup2kub.agent.recipe import Op, recipe
from jup2kub.agent.session import Session
from jup2kub.agent.steps import prepare
from jup2kub.engine.homes import Origin
from jup2kub.model.plan import CellPlan


class Kernels:
    """Kernels of one launch. Owns what is not lent. `shown` is given what cells show, and may be changed."""

    def __init__(self, launch: Launch, names_of: int, shown: OnOutput) -> None:
        self.launch, self._names_of, self.shown = launch, names_of, shown
        self._spare: asyncio.Task[Kernel] | None = None
        self._used: tuple[Kernel, Origin] | None = None

    def _start(self) -> Coroutine[Any, Any, Kernel]:
        return Kernel.start(self.launch, lambda cell, output: self.shown(cell, output), self._names_of)

    def warm(self) -> None:
        """See to it that a fresh kernel is there, or starting."""
        if self._spare is None:
            self._spare = asyncio.ensure_future(self._start())

    async def fresh(self) -> Kernel:
        """Return a kernel that has run nothing; another is started in its place."""
        spare, self._spare = self._spare, None
        kernel = await spare if spare is not None else None
        if kernel is None or kernel.dead.done():
            kernel = await self._start()
        self.warm()
        return kernel

    async def ready(self, session: Session, cell: CellPlan) -> tuple[Kernel, Origin]:
        """Return a kernel that holds all that the cell reads, and what is in it. Raises as `prepare` does."""
        used, self._used = self._used, None
        if used is not None:
            kernel, origin = used
            after = None if kernel.dead.done() else _goes_on(session, cell, origin)
            if after is None:
                await kernel.close()
            else:
                ops, origin, surplus = after
                return await _filled(session, cell, kernel, origin, ops, surplus)
        kernel = await self.fresh()
        ops = recipe([cell.index], session.needs, session.available, session.refers)
        return await _filled(session, cell, kernel, Origin(), ops, [])

    async def keep(self, kernel: Kernel, origin: Origin) -> None:
        """Take a kernel whose cell has ended well; the one kept before is closed."""
        used, self._used = self._used, (kernel, origin)
        if used is not None:
            await used[0].close()

    async def clear(self) -> None:
        """End what has run something; the fresh one stays, for whoever comes next."""
        used, self._used = self._used, None
        if used is not None:
            await used[0].close()

    async def close(self) -> None:
        """End all of them."""
        await self.clear()
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(Exception):
                await (await spare).close()


def _goes_on(
    session: Session, cell: CellPlan, origin: Origin
) -> tuple[tuple[Op, ...], Origin, list[str]] | None:
    """Return what must be done in a used kernel, what it then had before, and the names to drop first; None = it will not do."""
    if any(made >= cell.index for made, _ in origin.made):
        return None
    wanted: set[tuple[int, str]] = set()

    def has(producer: int, name: str) -> bool:
        found = origin.has(producer, name)
        wanted.update({(producer, name)} if found else ())
        return found

    ops = recipe([cell.index], session.needs, session.available, session.refers, has)
    kept = Origin(made=frozenset(wanted))
    if not all(kept.admits(op, session.cells[op.cell].writes) for op in ops):
        return None
    surplus = {name for _, name in origin.made - kept.made} - {name for _, name in kept.made}
    # State that is no variable cannot be dropped: whoever needs another version of it loads it.
    return ops, kept, sorted(n for n in surplus if not n.startswith("@"))


async def _filled(
    session: Session,
    cell: CellPlan,
    kernel: Kernel,
    origin: Origin,
    ops: tuple[Op, ...],
    surplus: list[str],
) -> tuple[Kernel, Origin]:
    try:
        if surplus:
            await kernel.drop(surplus)
        whole = tuple(
            replace(o, names=session.mates(o.cell, o.names, cell.index)) if o.names and not o.define else o
            for o in ops
        )
        await prepare(session, kernel, whole)
    except BaseException:
        await kernel.close()
        raise
    for op in whole:
        origin = origin.with_made(op.cell, op.names or session.cells[op.cell].writes)
    return kernel, origin
