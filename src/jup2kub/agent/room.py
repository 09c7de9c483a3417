"""When the store has no room left, results are not kept: the run goes on, and says so once."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Callable

from jup2kub.agent.messages import RequestFailed
from jup2kub.errors import StoreProblem

NOT_KEPT = "the store has no room for it"
"""Why a value cannot leave its kernel, for now: no fact about the cell."""
FREE = "free some with `jup2kub clean`, or choose another disk with --store DIR"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(problem: BaseException) -> bool:
    """Return whether a disk is full, in the words of this process, the store, or a kernel."""
    if isinstance(problem, StoreProblem):
        return problem.code == "J2K503"
    return isinstance(problem, (OSError, RequestFailed)) and problem.errno in FULL


class Room:
    """The store's room, as one run has met it. `say` gets what the user should know."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.full = False

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Leave the block early if there is no room for what it writes."""
        try:
            yield
        except (OSError, StoreProblem, RequestFailed) as problem:
            if not is_full(problem):
                raise
            if not self.full:
                self.full = True
                way_out = problem.hint if isinstance(problem, StoreProblem) else ""
                self.say(
                    f"no space left for the store: results are not kept from here on ({way_out or FREE})"
                )
