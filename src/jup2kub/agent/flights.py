"""Work under way in this process, by memo key: who comes second waits for the first instead of doing it again."""

from __future__ import annotations

import asyncio
from typing import Callable, Dict, Set


class Flights:
    """Shared by the runs of a sweep."""

    def __init__(self) -> None:
        self._under_way: Dict[str, asyncio.Event] = {}
        self._lost: Set[str] = set()

    async def first(self, key: str, waits: Callable[[bool], None]) -> bool:
        """Return whether the caller is to do the work itself, being the first or not helped by others; it must then `land`.

        Else wait until the first is through; `waits` is told when that begins and ends.
        """
        event = self._under_way.get(key)
        if event is not None:
            waits(True)
            await event.wait()
            waits(False)
        elif key not in self._lost:
            self._under_way[key] = asyncio.Event()
        return event is None

    def land(self, key: str, kept: bool) -> None:
        """The work is over. Not `kept`: it failed or cannot be shared, and nobody shall wait for it again."""
        if not kept:
            self._lost.add(key)
        else:
            self._lost.discard(key)
        event = self._under_way.pop(key, None)
        if event is not None:
            event.set()
