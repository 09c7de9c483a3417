"""The contract of those who run what leaves the main line."""

from __future__ import annotations

import asyncio
from typing import Dict, Protocol

from jup2kub.agent.away import Spreads
from jup2kub.agent.kernel import Kernel
from jup2kub.agent.steps import Outcome
from jup2kub.model.plan import CellPlan


class Line(Protocol):
    """What hands see of a main line."""

    kernel: Kernel
    pending: Dict[str, int]
    """Name → the cell that makes or made the version that is not in the kernel."""
    out: Dict[int, asyncio.Future[Outcome]]
    """Steps that have not ended, by cell."""


class Hands(Protocol):
    """Who runs what leaves the main line."""

    def may_send(self, cell: CellPlan) -> bool:
        """Return whether there is any point in sending the cell away now."""

    async def send(self, line: Line, cell: CellPlan) -> asyncio.Future[Outcome] | None:
        """Take the cell over; on return the main kernel may go on.

        None = it cannot leave: it needs something that only the main kernel has.
        """

    def at_home(self, cell: int, name: str) -> bool:
        """Return whether the version of `name` that `cell` made lives in a step's kernel and cannot leave it."""

    def waits(self, waiting: bool) -> None:
        """The main line begins or stops to wait: while it waits its core is free."""

    async def away(self, line: Line, cell: CellPlan) -> Spreads | None:
        """Return who runs iterations of the cell's loops on other machines, with what it reads in order; None = nobody."""

    def cores(self, wanted: int) -> int:
        """Lend the running cell as many cores as are wanted and free, in all; 0 = it gives them back."""
