"""Memory of arrays that are too big to be fingerprinted after every chunk: a child may read it and not write it.

Numpy's own flag stops numpy only: a view that was made before, or a C library, writes all the same. So the whole pages
of the memory are made read-only by the system, in the child alone: whoever writes there dies by SIGSEGV, and the parent
runs the iterations in order. What lies before the first and after the last whole page is compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import zlib
from collections.abc import Iterable
from typing import Any

PROT_READ = 1
SLICE = 1 << 26
"""Bytes that are read at once for a checksum."""


class Memory:
    """The memory of some arrays, as address ranges. The arrays must stay alive."""

    def __init__(self, arrays: Iterable[Any]) -> None:
        self.arrays = list(arrays)
        self._compared: list[tuple[int, int, int]] = []

    def __bool__(self) -> bool:
        return bool(self.arrays)

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges (first address, end), those that overlap put together."""
        found: list[tuple[int, int]] = []
        for low, high in sorted(span(a) for a in self.arrays):
            if found and low <= found[-1][1]:
                found[-1] = (found[-1][0], max(high, found[-1][1]))
            else:
                found.append((low, high))
        return found

    def flag(self, others: Iterable[Any]) -> None:
        """Make every array of `others` that looks into this memory read-only for numpy: then a write says so."""
        spans = self.spans()
        for array in others:
            low, high = span(array)
            if any(low < end and start < high for start, end in spans):
                with contextlib.suppress(ValueError):
                    array.flags.writeable = False

    def protect(self, pages: bool) -> None:
        """Begin to watch. `pages`: by the system, in a process that may die for it; else everything is compared."""
        protect = ctypes.CDLL(None).mprotect if pages else None
        for low, high in self.spans():
            first, last = -(-low // mmap.PAGESIZE) * mmap.PAGESIZE, high // mmap.PAGESIZE * mmap.PAGESIZE
            whole = first < last and protect is not None
            if (
                whole
                and protect is not None
                and protect(ctypes.c_void_p(first), ctypes.c_size_t(last - first), PROT_READ) == 0
            ):
                self._compare(low, first)
                self._compare(last, high)
            else:
                self._compare(low, high)

    def _compare(self, low: int, high: int) -> None:
        if low < high:
            self._compared.append((low, high, checksum(low, high)))

    def changed(self) -> bool:
        """Whether something of what is compared was written since `protect`."""
        return any(checksum(low, high) != before for low, high, before in self._compared)


def span(array: Any) -> tuple[int, int]:
    """Return the address of the first byte of an array's elements, and the one after the last."""
    low = high = array.__array_interface__["data"][0]
    if not array.size:
        return low, low
    for length, stride in zip(array.shape, array.strides):
        low += min(0, (length - 1) * stride)
        high += max(0, (length - 1) * stride)
    return low, high + array.itemsize


def checksum(low: int, high: int) -> int:
    """Return the CRC-32 of the bytes between two addresses."""
    found = 0
    for start in range(low, high, SLICE):
        length = min(SLICE, high - start)
        found = zlib.crc32((ctypes.c_char * length).from_address(start), found)
    return found
