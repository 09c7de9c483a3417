"""Children of a map that stand still: a copy of a process may wait for ever for a thread that was not copied with it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping

LOOK_SECONDS = 5.0
"""Time between two looks."""
STILL_SECONDS = 30.0
"""How long a child may use no processor at all, beside what its chunk may take."""
PATIENCE = 20.0
"""By how much an iteration may take longer than those before it: it may wait for a disk or for the network."""
STANDS = "a copy of this process stood still"


class Watch:
    """Sees which children use no processor. `pace`: seconds an iteration is thought to take."""

    def __init__(self, pace: float) -> None:
        self._pace, self._looked = pace, 0.0
        self._seen: dict[int, tuple[tuple[int, int], int, float]] = {}

    def end_still(self, assigned: Mapping[int, tuple[int, int]]) -> list[tuple[int, int]]:
        """Kill those that have stood still for too long; returns their chunks. `assigned`: chunks by pid."""
        now = time.perf_counter()
        found: list[tuple[int, int]] = []
        if now - self._looked < LOOK_SECONDS:
            return found
        self._looked = now
        for pid, chunk in assigned.items():
            used = _ticks(pid)
            before = self._seen.get(pid)
            if used is None or before is None or before[:2] != (chunk, used):
                self._seen[pid] = (chunk, -1 if used is None else used, now)
            elif now - before[2] > STILL_SECONDS + PATIENCE * self._pace * (chunk[1] - chunk[0]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                found.append(chunk)
        return found


def _ticks(pid: int) -> int | None:
    """Return the clock ticks that a process has used; None = it waits for processes of its own, or nobody can tell."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                if file.read().strip():
                    return None
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        return sum(int(n) for n in fields[11:15])
    except (OSError, ValueError):
        return None
