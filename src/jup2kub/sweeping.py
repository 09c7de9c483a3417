"""Sweeps: the notebook once per parameter set, in parallel, and what they share once.

Every set is a run of its own over one store. What does not depend on the parameters has the same memo key in all of
them; `Flights` sees to it that only one computes it while the others wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jup2kub.agent.flights import Flights
from jup2kub.agent.session import Told
from jup2kub.compose import Execution, Proof, Settings, execute_async
from jup2kub.errors import Jup2KubError


@dataclass(frozen=True)
class Member:
    """What came of one parameter set."""

    number: int
    parameters: Mapping[str, Any]
    done: Execution | None
    """None = it did not come to an end; `problem` says why."""
    seconds: float
    problem: Jup2KubError | None = None


def sweep(
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    collect: Sequence[str],
    tell: Callable[[int, Told], None],
    finished: Callable[[Member], None],
) -> list[Member]:
    """Run all sets, at most `settings.workers` at once; `finished` is called as each ends. Returns them in order."""
    return asyncio.run(_sweep(settings, sets, collect, tell, finished))


async def _sweep(
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    collect: Sequence[str],
    tell: Callable[[int, Told], None],
    finished: Callable[[Member], None],
) -> list[Member]:
    room = asyncio.Semaphore(settings.workers)
    flights = Flights()
    each = max(1, settings.workers // len(sets))

    async def one(number: int, parameters: Mapping[str, Any]) -> Member:
        async with room:
            loop = asyncio.get_running_loop()
            began = loop.time()
            mine = replace(settings, parameters=parameters, workers=each, collect=tuple(collect))
            done, problem = None, None
            try:
                done = await execute_async(mine, lambda told: tell(number, told), Proof(), flights)
            except Jup2KubError as error:
                problem = error
            member = Member(number, parameters, done, loop.time() - began, problem)
            finished(member)
            return member

    return list(await asyncio.gather(*(one(n, p) for n, p in enumerate(sets))))
