"""What a loop may touch, object by object: identity across a fork, and proof that shared state was left alone.

Before the fork the parent lists every object reachable from what the body reads and from the items (`World`). The
children inherit the list at the same addresses, so that a result which *is* one of these objects travels as its
number, and a child can tell at the end of a chunk which of them it has changed.
"""

from __future__ import annotations

import collections
import gc
import hashlib
import io
import pickle
import sys
import time
import types
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple

from .mapmemory import Memory
from .mapmodules import is_globals, is_own, own_module, variables

ATOMS = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    type(Ellipsis),
    type(NotImplemented),
    range,
    slice,
)
_ATOM_TYPES = frozenset(ATOMS)
_OPAQUE = (types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.FrameType)
SHARED = -1
HASHED = 1 << 26
"""Bytes of one array up to which it is fingerprinted; the memory of a larger one is guarded instead: see `mapmemory`."""


class TooBig(Exception):
    """The loop may touch more objects than can be looked at in the time that mapping would save."""


class World:
    """Every object that the loop may touch, with its owner: an iteration, or `SHARED`."""

    def __init__(
        self, namespace: Mapping[str, Any], deadline: float, clock: Callable[[], float] = time.perf_counter
    ):
        self.namespace = namespace
        self.objects: list[Any] = []
        self.number: dict[int, int] = {}
        self.owner: list[int] = []
        self.states: list[Any] = []
        self.owned: dict[int, list[int]] = {}
        self.memory = Memory(())
        """Of the arrays that are not fingerprinted."""
        self._deadline, self._clock = deadline, clock

    def add(self, value: Any, owner: int) -> None:
        """List all that `value` reaches; raises TooBig past the deadline."""
        todo = [value]
        while todo:
            item = todo.pop()
            if type(item) in _ATOM_TYPES or (isinstance(item, _OPAQUE) and not is_own(item)):
                continue
            known = self.number.get(id(item))
            if known is not None:
                if self.owner[known] in (owner, SHARED):
                    continue
                self.owner[known] = SHARED  # and so is what it reaches
                owner_now = SHARED
            else:
                known, owner_now = len(self.objects), owner
                self.number[id(item)] = known
                self.objects.append(item)
                self.owner.append(owner_now)
                if known & 1023 == 0 and self._clock() > self._deadline:
                    raise TooBig
            if owner_now == owner:
                todo.extend(self.children(item))
            else:
                self.add_shared(item)

    def add_shared(self, item: Any) -> None:
        """Mark what an object with two owners reaches as shared."""
        todo = list(self.children(item))
        while todo:
            child = todo.pop()
            known = self.number.get(id(child))
            if known is None:
                self.add(child, SHARED)
            elif self.owner[known] != SHARED:
                self.owner[known] = SHARED
                todo.extend(self.children(child))

    def children(self, item: Any) -> Iterable[Any]:
        """Return the objects that `item` refers to and whose change would be a change of `item`."""
        found = children(item, self.namespace)
        cls = type(item)
        return [*found, cls] if _own_class(cls, self.namespace) else found

    def freeze(self) -> None:
        """Remember the state of every object as it is now."""
        self.states = []
        for number, item in enumerate(self.objects):
            if number & 255 == 0 and self._clock() > self._deadline:
                raise TooBig
            self.states.append(self.state(item))
        self.memory = Memory(a for a in self._arrays() if a.nbytes > HASHED)
        self.owned = {}
        for number, owner in enumerate(self.owner):
            if owner != SHARED:
                self.owned.setdefault(owner, []).append(number)

    def state(self, item: Any) -> Any:
        """Return the shallow state of one object; None if it has none that can be compared."""
        return shallow(item, self)

    def changed(self, numbers: Iterable[int] | None = None) -> list[int]:
        """Return the numbers of the objects whose state is no longer the remembered one."""
        found = []
        for number in range(len(self.objects)) if numbers is None else numbers:
            before = self.states[number]
            if before is not None and not before.same(self.state(self.objects[number])):
                found.append(number)
        return found

    def settle(self, numbers: Iterable[int]) -> None:
        """Take the present state of some objects as the remembered one."""
        for number in numbers:
            self.states[number] = self.state(self.objects[number])

    def digest(self) -> str | None:
        """Return a digest of all objects by value, the same in another process; None = one has no value to be told by.

        Raises TooBig past the deadline.
        """
        made = hashlib.blake2b(digest_size=20)
        for number, item in enumerate(self.objects):
            if number & 255 == 0 and self._clock() > self._deadline:
                raise TooBig
            parts = self._parts(item, self.states[number])
            if parts is None:
                return None
            told = [type(item).__qualname__, self.owner[number], *(self._told(p) for p in parts)]
            made.update(repr(told).encode("utf-8", "surrogatepass"))
            if is_array(item) and not item.dtype.hasobject and not is_array(item.base):
                made.update(item.ravel(order="K").view("u1"))
        return made.hexdigest()

    def _parts(self, item: Any, state: Any) -> Iterable[Any] | None:
        if state is not None:
            fields = {} if isinstance(item, type) else state.fields or {}
            return (*state.parts, state.bits, *(x for pair in fields.items() for x in pair))
        if isinstance(item, (tuple, frozenset)):
            return tuple(item)
        if isinstance(item, types.MethodType):
            return item.__self__, item.__func__.__qualname__
        return () if isinstance(item, (type, types.ModuleType)) else None

    def _told(self, part: Any) -> Any:
        """What tells a part of an object from others: its number, its value, or its name."""
        number = self.number.get(id(part))
        if type(part) in _ATOM_TYPES:
            return type(part).__name__, repr(part)
        if number is not None:
            return number
        if isinstance(part, tuple):
            return [self._told(p) for p in part]
        return type(part).__name__, str(getattr(part, "__qualname__", getattr(part, "__name__", "")))

    def _arrays(self) -> list[Any]:
        return [a for a in self.objects if is_array(a) and not a.dtype.hasobject]

    def protect(self, pages: bool) -> None:
        """Guard the large arrays in this process: an iteration that writes one fails or dies, and runs alone.

        `pages`: as in `Memory.protect`.
        """
        if self.memory:
            self.memory.flag(self._arrays())
            self.memory.protect(pages)


def is_array(value: Any) -> bool:
    """Whether `value` is a numpy array; numpy is not imported for the question."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def children(item: Any, namespace: Mapping[str, Any]) -> Iterable[Any]:
    """Return what `item` refers to; of functions of the notebook also the globals they name."""
    if isinstance(item, types.FunctionType):
        return _of_function(item, namespace)
    if isinstance(item, types.MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, type):
        own = _own_class(item, namespace)
        return [v for n, v in vars(item).items() if n not in ("__dict__", "__weakref__")] if own else ()
    if isinstance(item, types.ModuleType):
        return [vars(item)]
    if is_array(item):
        inner = [] if item.base is None else [item.base]
        return inner + (item.ravel().tolist() if item.dtype.hasobject and item.dtype.names is None else [])
    found: list[Any] = []
    if isinstance(item, (list, tuple, set, frozenset, collections.deque)):
        found.extend(c for c in item if type(c) not in _ATOM_TYPES)
    elif isinstance(item, dict):
        if is_globals(item):
            item = variables(item)
        found.extend(c for c in item if type(c) not in _ATOM_TYPES)
        found.extend(c for c in dict.values(item) if type(c) not in _ATOM_TYPES)
    fields = attributes(item)
    if fields is not None:
        found.extend(v for n, v in fields.items() if "cache" not in n)
    elif not found and not isinstance(item, (list, tuple, set, frozenset, dict, collections.deque)):
        found.extend(c for c in gc.get_referents(item) if not isinstance(c, (type, *_OPAQUE)))
    return found


def _of_function(item: types.FunctionType, namespace: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = [
        *(item.__defaults__ or ()),
        *(item.__kwdefaults__ or {}).values(),
        *vars(item).values(),
    ]
    for cell in item.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    if item.__globals__ is namespace:
        found.extend(namespace[n] for n in sorted(names_of(item.__code__)) if n in namespace)
    elif is_globals(item.__globals__):
        found.append(item.__globals__)
    return found


def _own_class(item: type, namespace: Mapping[str, Any]) -> bool:
    """Whether the notebook or a module of the project defines the class."""
    name = item.__module__
    return name == namespace.get("__name__") or own_module(name) is not None


def names_of(code: types.CodeType) -> set[str]:
    """Return the global and attribute names in a code object and those nested in it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_of(constant)
    return found


def attributes(item: Any) -> dict[str, Any] | None:
    """Return the instance attributes, slots included, without running any code of the user's; None = has none."""
    try:
        found = object.__getattribute__(item, "__dict__")
    except AttributeError:
        found = None
    slots = [n for c in type(item).__mro__ for n in _slots(c)]
    if found is None and not slots:
        return None
    made = dict(found) if isinstance(found, dict) else {}
    for name in slots:
        try:
            made[name] = object.__getattribute__(item, name)
        except AttributeError:
            continue
    return made


def _slots(cls: type) -> list[str]:
    named = vars(cls).get("__slots__", ())
    names = [named] if isinstance(named, str) else list(named)
    hidden = "_" + cls.__name__.lstrip("_")
    return [
        hidden + n if n.startswith("__") and not n.endswith("__") else n
        for n in names
        if n not in ("__dict__", "__weakref__")
    ]


class Shallow(NamedTuple):
    """The state of one object: its parts by identity, its own bytes by value."""

    parts: tuple[Any, ...]
    fields: dict[str, Any] | None
    bits: Any

    def same(self, other: Shallow | None) -> bool:
        """Whether nothing changed; attributes that were added to an object are benign, as is what a cache holds."""
        if other is None or self.bits != other.bits or len(self.parts) != len(other.parts):
            return False
        if not all(a is b for a, b in zip(self.parts, other.parts)):
            return False
        if self.fields is None or other.fields is None:
            return self.fields is other.fields
        return all(
            n in other.fields and other.fields[n] is v for n, v in self.fields.items() if "cache" not in n
        ) and all(n in self.fields or n.startswith("_") or "cache" in n for n in other.fields)


def shallow(item: Any, world: World) -> Shallow | None:
    """Return the state of `item` itself, or None if there is nothing that could be compared."""
    if isinstance(item, (tuple, frozenset, types.FunctionType, types.MethodType)):
        return Shallow((), dict(vars(item)), None) if isinstance(item, types.FunctionType) else None
    if is_array(item):
        if item.dtype.hasobject:
            return Shallow(tuple(item.ravel().tolist()) if item.dtype.names is None else (), None, item.shape)
        own = item.base is None or not is_array(item.base)
        if not own or item.nbytes > HASHED:
            return Shallow((), None, (item.shape, item.strides))
        return Shallow((), None, (item.shape, item.strides, zlib.crc32(item.ravel(order="K").view("u1"))))
    parts: tuple[Any, ...] = ()
    if isinstance(item, types.ModuleType):
        return None  # its globals are an object of their own
    if isinstance(item, dict):
        held = variables(item) if is_globals(item) else item
        parts = (*dict.keys(held), *dict.values(held))
    elif isinstance(item, (list, set, collections.deque)):
        parts = tuple(item)
    elif isinstance(item, type):
        return Shallow((), dict(vars(item)), None) if _own_class(item, world.namespace) else None
    fields = attributes(item)
    if parts or isinstance(item, (dict, list, set, collections.deque)) or fields is not None:
        return Shallow(parts, fields, bytes(item) if isinstance(item, bytearray) else None)
    return _opaque(item, world)


def _opaque(item: Any, world: World) -> Shallow | None:
    """The state of an object of an extension type: what it pickles as, other listed objects as numbers."""
    target = io.BytesIO()
    try:
        _Outline(target, world, item).dump(item)
    except Exception:
        return None
    return Shallow((), None, target.getvalue())


class _Outline(pickle.Pickler):
    """Pickles one object and names the other listed ones by number."""

    def __init__(self, target: io.BytesIO, world: World, root: Any) -> None:
        super().__init__(target, 5)
        self.world, self.root = world, root

    def persistent_id(self, value: Any) -> Any:
        return None if value is self.root or type(value) in _ATOM_TYPES else self.world.number.get(id(value))
