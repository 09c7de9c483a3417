"""The two picklers of saved values, both in C: one for what pickle keeps by itself, one for the rest.

Pickle gives every NaN a new object and every set the order that adding its items anew makes. The fast pickler does
not see floats and sets; its stream tells whether there were any that matter, and then the exact one does it again.
"""

from __future__ import annotations

import operator
import pickle
import re
import struct
import sys
from typing import Any

from . import reducers

_NAN = re.compile(rb"G[\x7f\xff](?:[\xf1-\xff]|\xf0(?!\x00{6}))")
_SETS = (b"\x8f\x94", b"\x91\x94")
"""EMPTY_SET and FROZENSET, each followed by MEMOIZE. Text may look like it: that costs time, nothing else."""
_STEADY = frozenset({bool, int, float, complex, str, bytes})
"""Types whose hash is that of every process with the same hash seed."""


def may_matter(stream: bytes) -> bool:
    """Whether a part of a stream, cut between instructions, may hold a NaN or a set."""
    if any(mark in stream for mark in _SETS):
        return True
    return (b"G\x7f" in stream or b"G\xff" in stream) and _NAN.search(stream) is not None


class FastPickler(pickle.Pickler):
    """Rules are asked for everything but exact builtins."""

    def __init__(self, sink: Any, rules: reducers.Rules, buffer_callback: Any) -> None:
        super().__init__(sink, protocol=5, buffer_callback=buffer_callback)
        self.rules = rules

    def reducer_override(self, obj: Any) -> Any:
        """As `pickle` asks."""
        return self.rules.reduce(obj)


class ExactPickler(FastPickler):
    """Sees every object: NaNs are kept apart and sets in order by objects that stand for them.

    The bits of a NaN that is no module's stand for it: one object of bytes for each.
    """

    def __init__(self, sink: Any, rules: reducers.Rules, buffer_callback: Any) -> None:
        super().__init__(sink, rules, buffer_callback)
        self._stand_ins: dict[int, Any] = {}

    def persistent_id(self, obj: Any) -> Any:
        """Return what stands for `obj`, None for itself."""
        cls = type(obj)
        if cls is float:
            return None if obj == obj else self._stand_in(obj, self._nan)
        if cls is set or cls is frozenset:
            return self._stand_in(obj, self._set)
        return None

    def _stand_in(self, obj: Any, make: Any) -> Any:
        known = self._stand_ins.get(id(obj))
        if known is None:
            # The object is kept as well: its id must stay its own.
            known = self._stand_ins[id(obj)] = (make(obj), obj)
        return known[0]

    def _nan(self, obj: float) -> Any:
        found = self.rules.nan(obj)
        return struct.pack("<d", obj) if found is obj else found

    def _set(self, obj: Any) -> Any:
        items = list(obj)
        if not _steady(items):
            self.rules.certain = False
            return reducers.OrderedSet(obj)
        again = type(obj)(items)
        same = all(map(operator.is_, again, items)) and (
            type(obj) is frozenset or sys.getsizeof(again) == sys.getsizeof(obj)
        )
        return None if same else reducers.OrderedSet(obj)


def _steady(items: Any) -> bool:
    kinds = set(map(type, items))
    if kinds <= _STEADY:
        return True
    return kinds <= _STEADY | {tuple, frozenset} and all(
        _steady(item) for item in items if type(item) not in _STEADY
    )
