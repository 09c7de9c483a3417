"""About how big values are, without looking at all of them."""

from __future__ import annotations

import contextlib
from typing import Any


def weight(value: Any, depth: int = 2) -> int:
    """Return the bytes in the buffers of an array, a frame, or a small container of them."""
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    if type(value) in (list, tuple, dict) and depth and len(value) <= 1000:
        return sum(weight(v, depth - 1) for v in (value.values() if type(value) is dict else value))
    if type(value).__module__.partition(".")[0] in (
        "numpy",
        "pandas",
        "torch",
        "pyarrow",
        "polars",
        "scipy",
        "xarray",
    ):
        with contextlib.suppress(Exception):
            size = value.memory_usage() if hasattr(value, "memory_usage") else value.nbytes
            return int(size.sum() if hasattr(size, "sum") else size)
    return 0
