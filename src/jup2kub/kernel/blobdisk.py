"""How the bytes of a saved group reach the disk: through the system's cache, or past it.

What is kept for later runs only is not read soon. Past the cache it costs a tenth of the processor's time, takes no
memory from the cells that run beside it, and pushes nothing out of the cache; the disk takes it as fast as it can.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
from typing import Any

PAGE = 4096
"""Bytes; place, address and length of what goes past the cache are multiples of it (a disk's own block is no larger)."""
_ROOM = 1 << 20
"""Bytes of what is gathered before it is written, where it does not lie in memory as it will on the disk."""
_AHEAD = 1 << 26
"""Bytes after which the system is asked to begin bringing them to the disk."""
_SYNC_FILE_RANGE_WRITE = 2
_NOT_HERE = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


class Cached:
    """Writes through the system's cache. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._written = self._begun = 0
        """Bytes that are in the file, and of which the disk has been told."""

    def append(self, part: memoryview, low: int) -> None:
        """Write bytes, which lie at the address `low` (0 = it is not known)."""
        while len(part):
            count = os.write(self._fd, part)
            self._written += count
            part = part[count:]
        if self._written - self._begun >= _AHEAD:
            # the disk works while the rest is digested and written: the store waits for it before it commits
            with contextlib.suppress(OSError, AttributeError):
                libc = ctypes.CDLL(None)
                start, size = ctypes.c_int64(self._begun), ctypes.c_int64(self._written - self._begun)
                libc.sync_file_range(self._fd, start, size, _SYNC_FILE_RANGE_WRITE)
            self._begun = self._written

    def finish(self) -> None:
        """Write what is left, and close."""
        self.close()

    def close(self) -> None:
        """Close; what was appended last may be missing."""
        os.close(self._fd)


class Direct:
    """Writes past the system's cache, whole pages at whole pages: open(2), O_DIRECT. Raises OSError.

    `fd` may refuse; then the rest goes through the cache.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._direct = True
        self._room = mmap.mmap(-1, _ROOM)  # begins at a page
        self._held = 0
        """Bytes that have been gathered there."""
        self._written = 0
        """Bytes that are in the file."""

    def append(self, part: memoryview, low: int) -> None:
        """Write bytes, which lie at the address `low` (0 = it is not known)."""
        large = self._written > 0 or self._held + len(part) > _ROOM
        if low and large and len(part) >= 2 * PAGE and (self._written + self._held - low) % PAGE == 0:
            first = -low % PAGE
            self._gather(part[:first])
            self._empty()
            whole = (len(part) - first) // PAGE * PAGE
            self._write(part[first : first + whole])
            part = part[first + whole :]
        self._gather(part)

    def _gather(self, part: memoryview) -> None:
        while len(part):
            count = min(len(part), _ROOM - self._held)
            self._room[self._held : self._held + count] = part[:count]
            self._held += count
            part = part[count:]
            if self._held == _ROOM:
                self._empty()

    def _empty(self) -> None:
        with memoryview(self._room) as room, room[: self._held] as full:
            self._write(full)
        self._held = 0

    def _write(self, part: memoryview) -> None:
        while len(part):
            try:
                count = os.write(self._fd, part)
            except OSError as error:
                # a file system without it, or the rest of a page after a write that the disk cut short
                if not self._direct or error.errno not in _NOT_HERE:
                    raise
                self._through_cache()
                continue
            self._written += count
            part = part[count:]

    def _through_cache(self) -> None:
        self._direct = False
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)

    def finish(self) -> None:
        """Write what is left, and close."""
        size = self._written + self._held
        if self._written == 0:
            self._through_cache()  # so little does no harm there, and is found sooner
        if self._direct:
            self._held = -(-self._held // PAGE) * PAGE  # what is too much is cut off again
        self._empty()
        os.ftruncate(self._fd, size)
        self.close()

    def close(self) -> None:
        """Close; what was appended last may be missing."""
        self._room.close()
        os.close(self._fd)


def begin(path: str, *, direct: bool) -> Any:
    """Make the file and return who writes it: `append`, then `finish` or `close`. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    if direct and hasattr(os, "O_DIRECT"):
        with contextlib.suppress(OSError):  # what is really wrong the next line tells
            return Direct(os.open(path, flags | os.O_DIRECT, 0o666))
    return Cached(os.open(path, flags, 0o666))
