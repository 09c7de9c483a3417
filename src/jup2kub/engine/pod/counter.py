"""What tasks need of the agent around them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, List, Protocol


class Waits(Protocol):
    """Somebody who waits for tasks that he has sent away."""

    def settled(self, letter: Mapping[str, Any]) -> None:
        """A task has reached its last state."""

    def say_again(self) -> None:
        """The server may have forgotten what is out: say it again."""


class Desk:
    """`ask` waits for an answer of the server, `say` does not; `lend` gives a task cores of this agent."""

    def __init__(
        self,
        ask: Callable[[str, Mapping[str, Any]], Any],
        say: Callable[[Mapping[str, Any]], None],
        lend: Callable[[str, int], int],
        end: Callable[[Collection[str]], Awaitable[None]],
    ) -> None:
        self.ask, self.say, self.lend = ask, say, lend
        self.end = end
        """Ends the attempts of these tasks that run in this agent: on return they touch nothing any more."""
        self.senders: List[Waits] = []
        """Those whose loops are away."""
