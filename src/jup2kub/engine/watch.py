"""Watches the first fork of each combination of libraries: one that stands still for a lock will do so for ever.

A library may take locks around a fork, or have threads that are not in the copy, and so leave a copy that waits for
what never comes. No list of libraries is complete; what is found here is kept in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.wire import descendants
from jup2kub.model.facts import Facts
from jup2kub.store import Store

PATIENCE = 10.0
"""Seconds in which a copy that has work gets no time of the processor and waits for a lock, before it is given up."""
LOOK = 0.5
"""Seconds between two looks."""
PROC = Path("/proc")
FUTEX = {"x86_64": 202, "aarch64": 98}
"""Number of the system call that waits for a lock."""
TICKS = float(os.sysconf("SC_CLK_TCK")) if hasattr(os, "sysconf") else 100.0


def cpu_seconds(pid: int) -> float:
    """Return the time of the processor that a process and those it has started have used; 0 = not known."""
    total = 0.0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (PROC / str(one) / "stat").read_text().rpartition(")")[2].split()
            total += (int(words[11]) + int(words[12])) / TICKS
    return total


def waits_for_lock(pid: int) -> bool:
    """Whether the main thread of a process is waiting for a lock now; False also where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        number = (PROC / str(pid) / "syscall").read_text().split()[0]
        return number == str(FUTEX.get(platform.machine(), -1))
    with contextlib.suppress(OSError):
        return "futex" in (PROC / str(pid) / "wchan").read_text()
    return False


class Watch:
    """Knows which combinations of libraries survive forks. `given_up` is told why a copy was ended."""

    def __init__(self, store: Store, given_up: Callable[[str], None]) -> None:
        self._store, self._given_up = store, given_up
        self._good: set[str] = set()
        self._bad: set[str] = set()
        self._watching: dict[int, asyncio.Task[None]] = {}

    def forbids(self, kernel: Kernel) -> bool:
        """Whether copies with the libraries of this one have stood still, in this run or an earlier one."""
        mix = _mix(kernel)
        if mix not in self._good | self._bad:
            known = self._store.profile().get(mix)
            if known is not None:
                (self._bad if known.mispredicted else self._good).add(mix)
        return mix in self._bad

    def begin(self, kernel: Kernel) -> None:
        """Look after a copy, from before its first request, unless its libraries are known to be well-behaved."""
        if _mix(kernel) not in self._good:
            self._watching[kernel.pid] = asyncio.ensure_future(self._look_after(kernel))

    def proved(self, kernel: Kernel) -> None:
        """The copy has run a cell to its end."""
        mix = _mix(kernel)
        watching = self._watching.pop(kernel.pid, None)
        if watching is not None:
            watching.cancel()
        if watching is not None and mix not in self._good | self._bad:
            self._good.add(mix)
            self._store.learn(mix, Facts())

    async def _look_after(self, kernel: Kernel) -> None:
        loop = asyncio.get_running_loop()
        spent, since = -1.0, loop.time()
        while not kernel.dead.done():
            await asyncio.wait({kernel.dead}, timeout=LOOK)
            now = cpu_seconds(kernel.pid)
            if now != spent or not kernel.busy or not waits_for_lock(kernel.pid):
                spent, since = now, loop.time()
            elif loop.time() - since >= PATIENCE:
                mix = _mix(kernel)
                self._bad.add(mix)
                self._store.learn(mix, Facts(mispredicted=True, sticky="a fork of it stood still"))
                self._given_up(
                    f"a copy of the kernel stood still for {PATIENCE:.0f} s, waiting for a lock that nobody "
                    "holds: with the libraries it has loaded, steps run in fresh kernels from here on"
                )
                kernel.kill()
                return

    def stop(self) -> None:
        """Watch nothing any more."""
        for task in self._watching.values():
            task.cancel()
        self._watching.clear()


def _mix(kernel: Kernel) -> str:
    """Return the profile key of the libraries that a copy has loaded, by name, in the versions of its environment."""
    return f"fork-{kernel.info.get('mix', '')}-{str(kernel.info.get('packages', ''))[:16]}"
