"""Keeping what the main line made: saved in a copy of its kernel while the main line goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from jup2kub.agent.kernel import ForkRefused, Kernel, KernelDied, RequestFailed
from jup2kub.agent.saving import lasting, save
from jup2kub.agent.session import Session
from jup2kub.agent.steps import to_save
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan
from jup2kub.model.run import CellOutcome

RATE = 1e9
"""Bytes that are saved in a second, at best."""


@dataclass(frozen=True)
class Keep:
    """The commit of a cell that the main line ran."""

    session: Session
    cell: CellPlan
    outcome: CellOutcome
    facts: Facts
    token: str
    around: tuple[Mapping[str, Any], Mapping[str, Any]]
    """Its surroundings when it ended."""

    async def commit(self, kernel: Kernel, names: list[str]) -> None:
        """Save and commit, unless something that later cells read cannot travel."""
        session, index = self.session, self.cell.index
        known = (*self.cell.groups, *self.facts.aliases)
        began = time.monotonic()
        saved, stuck = await save(
            session, kernel, names, known=known, apart=self.cell.definitions, aside=True
        )
        facts = replace(
            self.facts,
            unshippable=lasting(stuck),
            sizes={n: v["bytes"] for v in saved for n in v["names"]},
            save_seconds=time.monotonic() - began,
        )
        if not set(stuck) & session.read_later[index]:
            with session.room.used():
                mine = (self.cell, self.outcome, facts, saved, self.token, self.around)
                await session.aside(session.commit, *mine)
        await session.aside(session.learn, index, facts)


class Keeper:
    """The commits of one main line."""

    def __init__(self) -> None:
        self._under_way: list[asyncio.Task[None]] = []

    async def keep(self, job: Keep, kernel: Kernel, copies: bool, then: Callable[[], None]) -> None:
        """Save in a copy of the kernel; where there can be no copy (or not `copies`), wait until it is saved.

        What can be made again in less than ten times the time of saving it is not kept. `then` is called at the end,
        however it ends.
        """
        names = to_save(job.cell, job.facts)
        optional = job.session.repeats(job.cell, job.facts) and job.session.flights is None
        if optional and await kernel.weigh(names) > job.outcome.seconds / 10 * RATE:
            then()
            return
        copy: Kernel | None = None
        if names and copies and job.session.terms.fork:
            with contextlib.suppress(ForkRefused):
                copy = await kernel.fork()
        if copy is not None:
            self._under_way.append(asyncio.ensure_future(_aside(job, copy, names, then)))
            return
        try:
            await job.commit(kernel, names)
        finally:
            then()

    async def finish(self) -> None:
        """Wait for what is being saved."""
        await asyncio.gather(*self._under_way)
        self._under_way.clear()

    async def stop(self) -> None:
        """Give up what is being saved."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()


async def _aside(job: Keep, copy: Kernel, names: list[str], then: Callable[[], None]) -> None:
    try:
        await asyncio.wait_for(job.commit(copy, names), max(1.0, job.outcome.seconds))
    except (asyncio.TimeoutError, KernelDied, RequestFailed):
        copy.kill()
    finally:
        then()
        await copy.close()
