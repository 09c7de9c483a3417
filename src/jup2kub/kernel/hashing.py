"""Digests of buffers and arrays: xxh3 where the user's environment has it, else crc32 of every MiB."""

from __future__ import annotations

import hashlib
import time
import zlib
from typing import Any, Callable

from . import memory

try:
    import xxhash
except ImportError:  # the user's environment need not have it
    xxhash = None  # type: ignore[assignment,unused-ignore]

_STEP = 1 << 24
"""Bytes between two looks at the clock."""
_MIB = 1 << 20


class OverBudget(Exception):
    """The time given for fingerprints is used up."""


class Clock:
    """A deadline; `seconds` None = none. In time of the processor: on a busy machine as much is seen as on an idle one."""

    pace = 0.0
    """Seconds that a byte has taken at best in this process; 0 = nobody knows yet."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.thread_time() + seconds

    def check(self, ahead: int = 0) -> None:
        """Raise OverBudget after the deadline, or if even at best `ahead` bytes would take longer than what is left.

        What cannot be finished is not begun: it would use up the time of the values that come after it.
        """
        if self._end is not None and time.thread_time() + ahead * Clock.pace > self._end:
            raise OverBudget

    @staticmethod
    def learn(size: int, seconds: float) -> None:
        """Take down how long a large piece took."""
        if size >= _MIB and seconds > 0:
            Clock.pace = min(Clock.pace or seconds / size, seconds / size)


def stream_hash() -> Any:
    """Return a fresh incremental hash (`update`, `hexdigest`) for the pickled stream."""
    return hashlib.blake2b(digest_size=16) if xxhash is None else xxhash.xxh3_128()


def _mix(update: Callable[[Any], Any], data: memoryview) -> None:
    for at in range(0, len(data), _MIB):
        update(zlib.crc32(data[at : at + _MIB]).to_bytes(4, "little"))


def buffer_digest(data: Any, clock: Clock) -> str:
    """Return a digest (32 hexadecimal digits) of a contiguous buffer. Raises OverBudget."""
    digest = stream_hash()
    view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
    at = 0
    while at < len(view):
        clock.check(len(view) - at)
        part = view[at : at + (_STEP if Clock.pace else _MIB)]
        began = time.thread_time()
        if xxhash is None:
            _mix(digest.update, part)
        else:
            digest.update(part)
        clock.learn(len(part), time.thread_time() - began)
        at += len(part)
    return str(digest.hexdigest())


def array_digest(array: Any, clock: Clock) -> str:
    """Return a digest of the elements of a NumPy array without references, in its order in memory."""
    if array.size == 0 or array.itemsize == 0:
        return "empty"
    clock.check(array.nbytes)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return buffer_digest(memory.raw(*memory.span(array)), clock)
    if array.nbytes <= _STEP or array.shape[0] == 1:
        compact = array.copy(order="C")
        return buffer_digest(memory.raw(*memory.span(compact)), clock)
    digest = stream_hash()
    rows = max(1, _STEP // max(1, array[:1].nbytes))
    for at in range(0, array.shape[0], rows):
        digest.update(array_digest(array[at : at + rows], clock).encode())
    return str(digest.hexdigest())
