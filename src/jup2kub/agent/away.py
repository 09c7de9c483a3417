"""The contract of those who let other agents run iterations of a cell's loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Protocol

Say = Callable[[Mapping[str, Any]], None]
"""Says something to the kernel in the middle of its cell."""


class Spreads(Protocol):
    """For one execution of one cell."""

    def known(self) -> Mapping[str, Any]:
        """Return the loops that an earlier life of the cell sent away: place → [iterations it had run, seconds of one]."""

    def heard(self, event: Mapping[str, Any], say: Say) -> None:
        """Take what the kernel says of a loop; `say` brings it an answer, or news, at any time until `over`."""

    def over(self) -> None:
        """The execution has ended, or its kernel."""
