"""What a process in a pod is told by its environment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from jup2kub.errors import UsageError

HIDDEN = "JUP2KUB_"
"""Environment variables that begin so are ours; no kernel sees them."""
GROUP = Path("/sys/fs/cgroup")


def token(environ: Mapping[str, str]) -> str:
    """Return the run's token: `JUP2KUB_TOKEN`, or what the file `JUP2KUB_TOKEN_FILE` holds. Raises UsageError (J2K245)."""
    given = environ.get("JUP2KUB_TOKEN", "")
    if not given:
        with contextlib.suppress(KeyError, OSError):
            given = Path(environ["JUP2KUB_TOKEN_FILE"]).read_text().strip()
    if not given:
        raise UsageError("J2K245", "there is no token of the run", "set JUP2KUB_TOKEN_FILE, or JUP2KUB_TOKEN")
    return given


def memory_limit(group: Path = GROUP) -> int:
    """Return the bytes that this container may use; 0 = no limit is known."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            found = int((group / name).read_text())
            # Version 1 says "no limit" by a number that no machine has.
            return found if found < 1 << 60 else 0
    return 0


def cores(group: Path = GROUP) -> float:
    """Return the cores that this container may use: its quota, or those of the machine that it may run on."""
    may = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return min(may, int(quota) / int(period)) if quota != "max" else may
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((group / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((group / "cpu/cpu.cfs_period_us").read_text())
        return min(may, quota_us / period_us) if quota_us > 0 else may
    return may
