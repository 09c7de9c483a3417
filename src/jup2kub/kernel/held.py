"""Interrupts that wait until it is safe to be interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Held:
    """An interrupt waits from here to `release`: a child must be known, or waited for, before one can strike.

    Blocking the signal would not do: it is then delivered to another thread, and strikes here all the same.
    """

    def __init__(self) -> None:
        self._came: list[Any] = []
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, lambda number, frame: self._came.append(frame))

    def release(self) -> None:
        """Let interrupts strike again; one that came meanwhile does so now."""
        if self._main:
            signal.signal(signal.SIGINT, self._before)
            if self._came and callable(self._before):
                self._before(signal.SIGINT, self._came[0])


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let an interrupt wait until the block has ended."""
    held = Held()
    try:
        yield
    finally:
        held.release()
