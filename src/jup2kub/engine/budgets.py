"""How often each class of failure is forgiven, and how long a task waits before it is offered again.

Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

USER = "user"
INFRASTRUCTURE = "infrastructure"
MEMORY = "memory"
HANG = "hang"
STORAGE = "storage"
KINDS = (USER, INFRASTRUCTURE, MEMORY, HANG, STORAGE)
KINDS_OF_LOSS = {"died": INFRASTRUCTURE, "crashed": HANG, "memory": MEMORY, "hung": HANG}
"""Budget from which the loss of a kernel is paid, by its cause."""


@dataclass(frozen=True)
class Config:
    """What the fold must be told; all times in seconds, all sizes in bytes."""

    user: int = 0
    """Retries of an error of the user's code, where the cell does not say otherwise."""
    infrastructure: int = 10
    memory: int = 2
    hang: int = 1
    storage: int = 2
    backoff: tuple[float, ...] = (0.0, 1.0, 5.0, 15.0, 60.0)
    """Wait before the first, second, … retry of a task; the last one holds for all further ones."""
    silence_seconds: float = 15.0
    """Without a heartbeat for longer, an attempt is suspect and its task is offered again; 0 = no limit."""
    start_seconds: float = 300.0
    """An attempt that has not started this long after it was dispatched is lost; 0 = no limit."""
    max_memory: int = 0
    """Most that a task may be given after it ran out of memory; 0 = no limit."""
    strict: bool = False
    """A task never goes to a worker with less memory than it asks for: one with more can be had."""
    main_cpu: float = 1.0
    """Cores that the main line takes while it executes."""

    def allowed(self, kind: str, retries: int) -> int:
        """Return the retry budget of failures of `kind`; `retries` is the user's own word, -1 = none given."""
        if kind == USER and retries >= 0:
            return retries
        return int(getattr(self, kind))

    def wait(self, retry: int, jitter: float) -> float:
        """Return the seconds to wait before retry number `retry` (from 1); `jitter` in 0…1 adds up to a half."""
        if not self.backoff:
            return 0.0
        base = self.backoff[min(retry, len(self.backoff)) - 1]
        return base * (1 + 0.5 * min(1.0, max(0.0, jitter)))


def more_memory(now: int, peak: int, config: Config) -> int:
    """Return the memory for the next attempt of a task that ran out of it: doubled, capped, in bytes."""
    wanted = 2 * max(now, peak)
    return min(wanted, config.max_memory) if config.max_memory else wanted


def spend(spent: Mapping[str, int], kind: str) -> dict[str, int]:
    """Return the budgets spent after one more failure of `kind`."""
    return {**spent, kind: spent.get(kind, 0) + 1}
