"""How much memory there is, and whether the system has killed for want of it. Linux only; else nothing is known."""

from __future__ import annotations

import contextlib
from pathlib import Path

PROC = Path("/proc")
GROUP = Path("/sys/fs/cgroup")
"""Of this process, as a container sees it: version 2, or version 1 with a folder for memory."""


def available() -> int:
    """Return the bytes that new processes may use, by the machine and by the limit of a container; 0 = not known."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        # A group without a limit says `max`, or a number that no machine has.
        with contextlib.suppress(OSError, ValueError):
            found.append(max(1, int((GROUP / limit).read_text()) - int((GROUP / used).read_text())))
    return min(found, default=0)


def kills() -> int:
    """Return how many processes the system has killed because memory ran out; it never becomes less."""
    counts = [0]
    for path in (PROC / "vmstat", GROUP / "memory.events", GROUP / "memory" / "memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                if line.startswith("oom_kill "):
                    counts.append(int(line.split()[1]))
    return sum(counts)
