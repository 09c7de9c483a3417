"""Work that several parameter sets have in common, between agents: who comes second waits for the first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.agent.flights import Flights
from jup2kub.errors import StoreProblem

WAIT = 10.0
"""Seconds that the server may keep a question."""


class RemoteFlights(Flights):
    """See `Flights`; the server keeps them. `ask(request, body)` reaches it."""

    def __init__(self, ask: Callable[[str, Mapping[str, Any]], Any]) -> None:
        super().__init__()
        self._ask = ask

    async def first(self, key: str, waits: Callable[[bool], None]) -> bool:
        """See `Flights`."""
        seen, waiting = -1, False
        try:
            while True:
                body = {"key": key, "seen": seen, "wait": WAIT}
                told = await asyncio.to_thread(self._ask, "first", body)
                if told["first"] is not None:
                    return bool(told["first"])
                seen = int(told["seen"])
                if not waiting:
                    waiting = True
                    waits(True)
        finally:
            if waiting:
                waits(False)

    def land(self, key: str, kept: bool) -> None:
        """See `Flights`."""
        asyncio.get_running_loop().run_in_executor(None, self._land, key, kept)

    def _land(self, key: str, kept: bool) -> None:
        # If the server cannot be told, the end of this set tells it.
        with contextlib.suppress(StoreProblem):
            self._ask("land", {"key": key, "kept": kept})
