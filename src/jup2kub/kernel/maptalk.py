"""What a kernel and its agent say to each other about a loop, over the control socket, while a cell runs."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]


class Talk:
    """`channel`: the child's end of the control socket, see `wire.Channel`.

    An answer may come after news that were under way before it was asked for: these wait for `next`.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._early: list[Message] = []

    def tell(self, what: str, **fields: Any) -> None:
        """Say something that is not answered."""
        self._channel.send({"event": "loop", "what": what, **fields})

    def ask(self, what: str, **fields: Any) -> Message:
        """Ask, and return the answer; empty = there is nobody any more."""
        self.tell(what, **fields)
        found: Message = self._until("answer") or {}
        return found

    def cores(self, wanted: int) -> int:
        """Ask for so many cores in all, and return how many there are; 0 gives them back and is not answered."""
        self._channel.send({"event": "cores", "wanted": wanted})
        if not wanted:
            return 0
        found = self._until("cores")
        return 1 if found is None else int(found)

    def _until(self, key: str) -> Any:
        while True:
            found = self._channel.receive()
            if found is None:
                return None
            if key in found[0]:
                return found[0][key]
            self._early.append(found[0])

    @property
    def waiting(self) -> bool:
        """Whether there is news that was read already: `fileno` does not tell of it."""
        return bool(self._early)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is more."""
        return int(self._channel.sock.fileno())

    def next(self) -> Message | None:
        """Wait for news; None = there is nobody any more."""
        if self._early:
            return self._early.pop(0)
        found = self._channel.receive()
        return None if found is None else found[0]
