"""Whether a value that was loaded back is built like the one that was saved.

Both are walked in lockstep: types, attributes and their order, set order, strides, flags and what is shared with
what. The bytes of plain data are pickle's business and are not compared.
"""

from __future__ import annotations

import array
import operator
import sys
import types
import weakref
from typing import Any

from . import memory, walk

_SKIPPED = (type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, weakref.ReferenceType)


class Inexact(Exception):
    """A difference; `reason`: one clause for the user."""

    def __init__(self, name: str, reason: str, final: bool = True) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason
        self.final = final
        """Whether the exact pickler could not do better."""


class Lockstep:
    """Compares name after name of one group; what they share must be shared in the same way."""

    def __init__(self) -> None:
        self._name = ""
        self._pairs: dict[int, int] = {}
        self._back: dict[int, int] = {}
        self._keep: list[Any] = []
        self._spans: list[tuple[int, int, int]] = []
        self._todo: list[tuple[Any, Any]] = []

    def compare(self, name: str, saved: Any, loaded: Any) -> None:
        """Compare the values of one name. Raises Inexact."""
        self._name = name
        self._todo.append((saved, loaded))
        while self._todo:
            one, other = self._todo.pop()
            if one is not other:
                self._pair(one, other)

    def finish(self, name: str) -> None:
        """Compare which memory overlaps which, over all names. Raises Inexact."""
        self._name = name
        original = sorted((low, high, other) for low, high, other in self._spans)
        loaded = sorted((other, other + high - low, low) for low, high, other in self._spans)
        for spans in (original, loaded):
            end, shift = -1, 0
            for low, high, other in spans:
                if low < end and other - low != shift:
                    self._fail("it shares memory with another object, which would be lost")
                if low >= end:
                    shift = other - low
                end = max(end, high)

    def _fail(self, reason: str, final: bool = True) -> None:
        raise Inexact(self._name, reason, final)

    def _pair(self, one: Any, other: Any) -> None:
        cls = type(one)
        if cls is not type(other):
            self._fail(f"a {walk.type_name(cls)} would come back as a {walk.type_name(type(other))}")
        if cls in walk.ATOMS:
            if cls is float and one != one:
                self._nan(one, other)
            return
        known = self._pairs.get(id(one))
        if known is not None:
            if known != id(other):
                self._fail(f"two references to one {walk.type_name(cls)} would come back as two objects")
            return
        if self._back.setdefault(id(other), id(one)) != id(one) and not self._immutable(cls):
            self._fail(f"two objects of type {walk.type_name(cls)} would come back as one")
        self._pairs[id(one)] = id(other)
        self._keep += (one, other)
        if cls in walk.CONTAINERS or not isinstance(one, _SKIPPED):
            self._parts(one, other, cls)

    def _immutable(self, cls: type) -> bool:
        return cls in (tuple, frozenset) or walk.attributes(cls) is None or not walk.hashes_by_identity(cls)

    def _nan(self, one: float, other: float) -> None:
        """NaNs are told apart by identity: `nan in [nan]`."""
        for name in ("math", "numpy"):
            if vars(sys.modules.get(name, types)).get("nan") is one:
                self._fail("a NaN in it would lose its identity", final=False)
        if self._pairs.setdefault(id(one), id(other)) != id(other):
            self._fail("a NaN in it would lose its identity", final=False)
        self._keep += (one, other)

    def _parts(self, one: Any, other: Any, cls: type) -> None:
        if isinstance(one, walk.CONTAINERS):
            self._content(one, other)
            if cls in walk.CONTAINERS:
                return  # exact builtins hold nothing else
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(one, numpy.ndarray):
            self._array(one, other)
        elif isinstance(one, (bytearray, memoryview, array.array)):
            self._buffer(one, other)
        elif isinstance(one, types.FunctionType):
            self._sequence(list(walk.function_parts(one).values()), list(walk.function_parts(other).values()))
        elif isinstance(one, types.MappingProxyType):
            self._sequence([walk.behind(one)], [walk.behind(other)])
        elif isinstance(one, types.CellType):
            self._sequence(walk.cell_contents(one), walk.cell_contents(other))
        elif isinstance(one, types.MethodType):
            self._sequence([one.__self__, one.__func__], [other.__self__, other.__func__])
        elif not isinstance(one, walk.PLAIN_BASES) and self._by_reduction(cls):
            self._hidden(one, other)
        if not isinstance(one, types.FunctionType):
            self._attributes(one, other, cls)

    def _content(self, one: Any, other: Any) -> None:
        left, right = walk.content(one), walk.content(other)
        if isinstance(one, dict):
            self._sequence([k for k, _ in left], [k for k, _ in right])
            self._sequence([v for _, v in left], [v for _, v in right])
            return
        if isinstance(one, (set, frozenset)) and len(left) > 1:
            self._set_order(one, other, left, right)
        self._sequence(left, right)

    def _set_order(self, one: Any, other: Any, left: list[Any], right: list[Any]) -> None:
        if any(map(walk.hashes_by_identity, set(map(type, left)))):
            self._fail("a set of objects that are ordered by their address in memory")
        if list(map(hash, left)) != list(map(hash, right)):
            self._fail("the order of a set would not come back", final=False)
        if isinstance(one, set) and sys.getsizeof(one) != sys.getsizeof(other):
            self._fail("the order of a set would not come back", final=False)

    def _sequence(self, left: Any, right: Any) -> None:
        if len(left) != len(right):
            self._fail("parts of it would be lost")
        kinds = set(map(type, left))
        if kinds <= walk.ATOMS:
            if kinds != set(map(type, right)):
                self._fail("parts of it would come back as another type")
            if float not in kinds or not any(map(operator.ne, left, left)):
                return
        self._todo.extend(zip(left, right))

    def _array(self, one: Any, other: Any) -> None:
        same = (one.dtype, one.shape, one.flags.writeable) == (
            other.dtype,
            other.shape,
            other.flags.writeable,
        )
        if not same or (one.size and one.strides != other.strides):
            self._fail("an array would come back with another layout in memory")
        if one.size and one.itemsize:
            low, high = memory.span(one)
            self._spans.append((low, high, memory.span(other)[0]))
        if one.dtype == object:
            self._sequence(one.ravel().tolist(), other.ravel().tolist())

    def _buffer(self, one: Any, other: Any) -> None:
        if isinstance(one, memoryview):
            same = (one.format, one.shape, one.strides, one.readonly)
            if same != (other.format, other.shape, other.strides, other.readonly):
                self._fail("a memoryview would come back with another layout")
            self._todo.append((one.obj, other.obj))
        low, high = address(one), address(other)
        size = memoryview(one).nbytes
        if size and low is not None and high is not None:
            self._spans.append((low, low + size, high))

    def _hidden(self, one: Any, other: Any) -> None:
        if isinstance(one, BaseException):
            self._sequence(list(one.args), list(other.args))
            return
        if type(one).__name__ == "BlockValuesRefs":
            return  # a list of weak references that grows by use: which objects have it is what counts
        if walk.module_of(type(one)).startswith("pandas."):
            for name in ("refs", "blocks"):
                if hasattr(one, name):
                    self._todo.append((getattr(one, name), getattr(other, name)))
        try:
            left, right = walk.reduced(one), walk.reduced(other)
        except Exception:
            return  # one of our own rules has made it, and it is not for pickle to say how
        self._keep += (left, right)
        self._sequence(left, right)

    def _by_reduction(self, cls: type) -> bool:
        return walk.has_hidden_state(cls) or (walk.has_own_pickling(cls) and not walk.is_notebooks(cls))

    def _attributes(self, one: Any, other: Any, cls: type) -> None:
        left = {**(walk.attributes(one) or {}), **walk.slots(one)}
        right = {**(walk.attributes(other) or {}), **walk.slots(other)}
        if self._by_reduction(cls) or not walk.is_notebooks(cls):
            # A library may drop caches, and what it calls private is told by its own pickling.
            private = walk.has_own_pickling(cls) or walk.has_hidden_state(cls)
            left = {
                n: v for n, v in left.items() if not walk.is_cached(cls, n) and not (private and n[:1] == "_")
            }
        elif list(left) != list(right) and set(left) == set(right):
            self._fail(f"the attributes of a {walk.type_name(cls)} would come back in another order")
        for name in left:
            if name not in right:
                self._fail(f"attribute {name!r} of a {walk.type_name(cls)} would be lost")
        self._sequence(list(left.values()), [right[n] for n in left])


def address(buffer: Any) -> Any:
    """Return where the bytes of a buffer are in memory, or None if nothing here can tell."""
    if isinstance(buffer, array.array):
        return buffer.buffer_info()[0]
    numpy = sys.modules.get("numpy")
    if numpy is None or not memoryview(buffer).c_contiguous:
        return None
    return memory.start(numpy.frombuffer(buffer, dtype="u1")) if memoryview(buffer).nbytes else None
