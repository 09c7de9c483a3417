"""The file of one saved group: pickle streams, then memory blocks on page boundaries, then a JSON directory.

    magic (8) | streams | blocks … | directory (JSON) | length of the directory (8, big-endian) | magic (8)

Written once from front to back, so that the digest is ready when the last byte is; read by a private
copy-on-write mapping, so that nothing is read before it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import threading
from typing import Any, BinaryIO

from . import memory

MAGIC = b"J2KVAL01"
_CHUNK = 1 << 22
"""Bytes hashed and written at a time: they are still in the cache for the second of the two."""


_LARGE = 1 << 24
"""Bytes that are worth a thread."""
_AHEAD = 1 << 26
"""Bytes after which the system is asked to begin bringing them to the disk."""
_SYNC_FILE_RANGE_WRITE = 2


def _begin_writing(fd: int, start: int, size: int) -> None:
    """Let the disk work while the rest is digested and written: the store waits for it before it commits. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


class Writer:
    """Writes one file and digests it on the way. Raises OSError as the system does.

    `threads`: large pieces are digested in a second thread, which ends with the piece.
    """

    def __init__(self, path: str, *, threads: bool = False) -> None:
        self._threads = threads
        self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115 - `finish` closes it
        self._digest = hashlib.sha256()
        self._written = self._begun = 0
        """Bytes that are in the file, and of which the disk has been told."""
        self.position = 0
        self.write(MAGIC)

    def write(self, data: Any) -> int:
        """Append bytes or any contiguous buffer; return their number."""
        with memoryview(data) as whole, whole.cast("B") as view:
            if self._threads and len(view) >= _LARGE:
                self._write_large(view)
            else:
                for at in range(0, len(view), _CHUNK):
                    part = view[at : at + _CHUNK]
                    self._digest.update(part)
                    self._append(part)
            self.position += len(view)
            return len(view)

    def _write_large(self, view: memoryview) -> None:
        helper = threading.Thread(target=self._digest.update, args=(view,), name="digest")
        helper.start()
        try:
            for at in range(0, len(view), _CHUNK):
                self._append(view[at : at + _CHUNK])
        finally:
            helper.join()

    def _append(self, part: memoryview) -> None:
        while len(part):
            count = self._file.write(part) or 0
            self._written += count
            part = part[count:]
        if self._written - self._begun >= _AHEAD:
            _begin_writing(self._file.fileno(), self._begun, self._written - self._begun)
            self._begun = self._written

    def block(self, low: int, data: Any) -> tuple[int, int]:
        """Append a memory block from address `low`; return (offset in the file, bytes)."""
        size = memoryview(data).nbytes
        self.write(bytes(memory.aligned(self.position, low, size) - self.position))
        offset = self.position
        self.write(data)
        return offset, size

    def finish(self, directory: dict[str, Any]) -> tuple[int, str]:
        """Append the directory and close; return (bytes, sha256) of the file."""
        text = json.dumps(directory, separators=(",", ":")).encode()
        self.write(text + len(text).to_bytes(8, "big") + MAGIC)
        self._file.close()
        return self.position, self._digest.hexdigest()

    def abandon(self) -> None:
        """Close without finishing: the file has no directory and is not readable."""
        self._file.close()


class Reader:
    """Maps a file. `blocks` are writable memory that no other process sees.

    Raises ValueError if the file is not whole, OSError if it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(MAGIC) * 2 + 8:
                raise ValueError(f"{path}: not a file of saved values")
            self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        whole = memoryview(self._map)
        length = int.from_bytes(whole[-16:-8], "big")
        if whole[:8] != MAGIC or whole[-8:] != MAGIC or length > size - 24:
            raise ValueError(f"{path}: not a file of saved values, or not whole")
        self._whole = whole
        self.directory: dict[str, Any] = json.loads(bytes(whole[-16 - length : -16]))

    def part(self, place: list[int]) -> memoryview:
        """Return the bytes at (offset, size)."""
        return self._whole[place[0] : place[0] + place[1]]


class Stream:
    """A part of a mapped file as `pickle` reads it: a piece at a time."""

    def __init__(self, part: memoryview) -> None:
        self._part = part
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._at += size
        return bytes(self._part[self._at - size : self._at])

    def readinto(self, target: Any) -> int:
        """Fill `target` with the next bytes and return their number."""
        size = memoryview(target).nbytes
        memoryview(target).cast("B")[:] = self._part[self._at : self._at + size]
        self._at += size
        return size

    def readline(self) -> bytes:
        """Return the rest of a line; only the protocols before ours have lines."""
        raise ValueError("not a stream of saved values")
