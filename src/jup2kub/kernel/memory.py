"""Arrays by the memory they look at: what overlaps is written once, and every view finds its place again."""

from __future__ import annotations

import bisect
import ctypes
import sys
from typing import Any

PAGE = 4096
LINE = 64
"""Bytes; the place of a block inside a cache line is kept, because vectorised sums depend on it."""
OWNED_BYTES = 1 << 20
"""An array that alone owns at most so many bytes gets memory of its own when loaded, so that it can be resized."""


def span(array: Any) -> tuple[int, int]:
    """Return the addresses [low, high) of the bytes a NumPy array looks at."""
    low = high = int(array.__array_interface__["data"][0])
    if array.size == 0:
        return low, low
    for length, stride in zip(array.shape, array.strides):
        reach = (length - 1) * stride
        low, high = (low + reach, high) if reach < 0 else (low, high + reach)
    return low, high + int(array.itemsize)


def start(array: Any) -> int:
    """Return the address of the first element."""
    return int(array.__array_interface__["data"][0])


def raw(low: int, high: int) -> memoryview:
    """Return the bytes between two addresses, without a copy; the caller keeps their owner alive."""
    return memoryview((ctypes.c_ubyte * (high - low)).from_address(low)).cast("B")


class Blocks:
    """Collects arrays while they are pickled; `layout` then merges what overlaps."""

    def __init__(self) -> None:
        self._arrays: list[Any] = []
        self._spans: list[tuple[int, int]] = []

    def add(self, array: Any) -> int:
        """Take note of an array of at least one byte and return its number."""
        self._arrays.append(array)  # alive until written: addresses stay valid
        self._spans.append(span(array))
        return len(self._arrays) - 1

    def layout(self) -> tuple[list[tuple[int, int]], list[tuple[int, int, bool]]]:
        """Return merged spans (low, high), and per array (its block, offset of its first element, is alone)."""
        merged: list[list[int]] = []
        for low, high in sorted(self._spans):
            if merged and low < merged[-1][1]:
                merged[-1][1] = max(high, merged[-1][1])
            else:
                merged.append([low, high])
        lows = [m[0] for m in merged]
        homes = [bisect.bisect_right(lows, low) - 1 for low, _ in self._spans]
        users: dict[int, int] = {}
        for home in homes:
            users[home] = users.get(home, 0) + 1
        places = [
            (home, start(a) - lows[home], users[home] == 1 and bool(a.flags.owndata))
            for a, home in zip(self._arrays, homes)
        ]
        return [(m[0], m[1]) for m in merged], places


def aligned(position: int, low: int, size: int) -> int:
    """Return the next file offset for a block from address `low`: the same place in its line, if large in its page.

    Then pages of memory are pages of the file, which can be written without a copy.
    """
    return position + (low - position) % (PAGE if size >= PAGE else LINE)


def view(
    block: memoryview, offset: int, dtype: Any, shape: Any, strides: Any, own: bool, writeable: bool
) -> Any:
    """Return the array at `offset` of `block`; `own`: a copy with memory of its own, same strides."""
    numpy = sys.modules["numpy"]
    array = numpy.ndarray(shape, dtype, block, offset, strides)
    if own and array.nbytes <= OWNED_BYTES and (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy(order="K")
    if not writeable:
        array.flags.writeable = False
    return array
