"""Work under way in this process, by memo key: who comes second waits for the first instead of doing it again."""

from __future__ import annotations

import asyncio
from typing import Dict


class Flights:
    """Shared by the runs of a sweep."""

    def __init__(self) -> None:
        self._under_way: Dict[str, asyncio.Event] = {}

    def take_off(self, key: str) -> bool:
        """Return whether the caller is the first with this key; it must then `land`."""
        if key in self._under_way:
            return False
        self._under_way[key] = asyncio.Event()
        return True

    def land(self, key: str) -> None:
        """The work is over, well or not."""
        event = self._under_way.pop(key, None)
        if event is not None:
            event.set()

    async def wait(self, key: str) -> None:
        """Wait for the first one."""
        event = self._under_way.get(key)
        if event is not None:
            await event.wait()
