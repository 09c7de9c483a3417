"""What a map is to do, and how it is cut into chunks."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Tuple

from .mapfolds import Frame
from .mapitems import Items
from .rewrite import Spec

Range = Tuple[int, int]


class Work(NamedTuple):
    """What the engine is to do."""

    spec: Spec
    frame: Frame
    """Holds the loop."""
    items: Items
    done: int
    """Iterations that ran already."""
    pace: float
    """Seconds of an iteration, as timed."""
    one: Callable[[Any], Any] | None
    """Of a comprehension: gives the collection of a few items alone; None for a `for` statement."""
    number: int
    """Which execution of this loop it is in the cell, from 1."""
    cores: int
    """Children that may compute at once, for now."""
    spent: float
    """Seconds since the loop began."""
    agents: int = 0
    """Others that shall run its chunks; 0 = this process and its children do."""
    start: Any = None
    """How the loop began, if it may go to them: `mapaway.Start`."""


def cut(work: Work, end: int, settings: Any, start: int, stop: int) -> list[Range]:
    """Cut iterations `start` to `stop` of a map that goes to `end`: into as many chunks as were asked for, else by time.

    They become smaller towards the end, so that all children end together.
    """
    found = []
    most = max(1, int(settings.chunk_seconds / work.pace)) if work.pace > 0 else max(1, end - work.done)
    while start < stop:
        if work.spec.chunks:
            size = -(-(end - work.done) // work.spec.chunks)
        else:
            size = max(1, min(most, (end - start) // (4 * settings.workers)))
        found.append((start, min(start + size, stop)))
        start += size
    return found
