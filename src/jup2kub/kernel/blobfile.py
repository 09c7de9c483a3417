"""The file of one saved group: pickle streams, then memory blocks on page boundaries, then a JSON directory.

    magic (8) | streams | blocks … | directory (JSON) | length of the directory (8, big-endian) | magic (8)

Written once from front to back, so that the digest is ready when the last byte is; read by a private
copy-on-write mapping, so that nothing is read before it is used. How the bytes get there: see `blobdisk`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import threading
from typing import Any

from . import blobdisk, memory

MAGIC = b"J2KVAL01"
_CHUNK = 1 << 22
"""Bytes hashed and written at a time: they are still in the cache for the second of the two."""


_LARGE = 1 << 24
"""Bytes that are worth a thread."""
_PIECE = 1 << 25
"""Bytes given to the system at a time while another thread digests."""


class Writer:
    """Writes one file and digests it on the way. Raises OSError as the system does.

    `threads`: large pieces are digested in a second thread, which ends with the piece. `direct`: nobody is going to
    read the file soon, so that it need not pass through the system's cache.
    """

    def __init__(self, path: str, *, threads: bool = False, direct: bool = False) -> None:
        self._threads = threads
        self._target = blobdisk.begin(path, direct=direct)
        self._digest = hashlib.sha256()
        self.position = 0
        self.write(MAGIC)

    def write(self, data: Any, low: int = 0) -> int:
        """Append bytes or any contiguous buffer; return their number. `low`: their address; 0 = it is not known."""
        with memoryview(data) as whole, whole.cast("B") as view:
            if self._threads and len(view) >= _LARGE:
                self._write_large(view, low)
            else:
                for at in range(0, len(view), _CHUNK):
                    part = view[at : at + _CHUNK]
                    self._digest.update(part)
                    self._target.append(part, low and low + at)
            self.position += len(view)
            return len(view)

    def _write_large(self, view: memoryview, low: int) -> None:
        helper = threading.Thread(target=self._digest.update, args=(view,), name="digest")
        helper.start()
        try:
            for at in range(0, len(view), _PIECE):
                self._target.append(view[at : at + _PIECE], low and low + at)
        finally:
            helper.join()

    def block(self, low: int, data: Any) -> tuple[int, int]:
        """Append a memory block from address `low`; return (offset in the file, bytes)."""
        size = memoryview(data).nbytes
        self.write(bytes(memory.aligned(self.position, low, size) - self.position))
        offset = self.position
        self.write(data, low)
        return offset, size

    def finish(self, directory: dict[str, Any]) -> tuple[int, str]:
        """Append the directory and close; return (bytes, sha256) of the file."""
        text = json.dumps(directory, separators=(",", ":")).encode()
        self.write(text + len(text).to_bytes(8, "big") + MAGIC)
        self._target.finish()
        return self.position, self._digest.hexdigest()

    def abandon(self) -> None:
        """Close without finishing: the file has no directory and is not readable."""
        self._target.close()


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
