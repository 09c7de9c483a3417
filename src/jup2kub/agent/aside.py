"""What may have to wait for the store: here at once, and in a pod, whose store is elsewhere, beside the event loop.

A run server that is away must not stop the loop: outputs, time-outs and other tasks go on.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Optional, Protocol, TypeVar

T = TypeVar("T")


class Aside(Protocol):
    """How a session carries out what may wait."""

    async def __call__(self, act: Callable[..., T], *args: Any) -> T:
        """Return `act(*args)`, or raise what it raises."""


async def at_once(act: Callable[..., T], *args: Any) -> T:
    """Carry it out here: the store is a folder of this machine."""
    return act(*args)


async def in_thread(act: Callable[..., T], *args: Any) -> T:
    """Carry it out in a thread. Whoever is cancelled meanwhile goes on only when it has ended: it changes files."""
    work = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(None, lambda: act(*args)))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        work.exception()  # it has been looked at: whoever is cancelled has no use for it
        raise


class InTurn:
    """In threads, one after the other, in the order in which they were asked for: they change one session."""

    def __init__(self) -> None:
        self._door: Optional[asyncio.Lock] = None

    async def __call__(self, act: Callable[..., T], *args: Any) -> T:
        """See `Aside`."""
        # Made where it is used: before Python 3.10 a lock belongs to the loop that runs when it is made.
        self._door = self._door or asyncio.Lock()
        async with self._door:
            return await in_thread(act, *args)
