"""How any Python object comes apart: what fingerprints, digests and comparisons have in common.

Nothing here runs code of the notebook: no `repr`, no `==`, no property, no `__getstate__` of its classes.
"""

from __future__ import annotations

import collections
import copyreg
import functools
import gc
import json
import os
import sys
import types
from typing import Any

ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented), range}
)
"""Exact types without parts and without state; two equal ones cannot be told apart, NaN excepted."""

WHOLE = frozenset({complex, slice, collections.deque, collections.OrderedDict, collections.defaultdict})
"""Further exact types that pickle brings back as they were, if it does so with what they hold."""
CONTAINERS = (list, tuple, dict, set, frozenset)
PLAIN_BASES = (list, tuple, dict, set, frozenset, int, float, complex, str, bytes, bytearray)
_ITERABLES: tuple[Any, ...] = (
    [],
    (),
    {},
    {}.values(),
    {}.items(),
    set(),
    "",
    b"",
    range(0),
    range(1 << 70),
    bytearray(),
)
ITERATORS: tuple[type, ...] = (
    *{type(iter(sample)) for sample in _ITERABLES},
    type(reversed([])),
    enumerate,
    zip,
    map,
    filter,
    reversed,
)
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
_ADDRESS: tuple[Any, ...] = (object.__hash__, type.__hash__, types.FunctionType.__hash__)


def _annotated() -> dict[str, list[str]]:
    """Read `caches.json` beside this module, in a folder or in a zip file."""
    loader: Any = globals()["__loader__"]
    found: dict[str, list[str]] = json.loads(
        loader.get_data(os.path.join(os.path.dirname(__file__), "caches.json"))
    )
    return found


_CACHES = _annotated()
"""Public attributes that a library fills while it only reports, by its package."""
_VOLATILE = frozenset(
    [
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__slotnames__",
        "__static_attributes__",
        "__firstlineno__",
        "__abstractmethods__",
        "_abc_impl",
    ]
)
_SEQUENCES: tuple[Any, ...] = (list, tuple, set, frozenset)
_HEAP_TYPE = 1 << 9
_LIBRARY = getattr(sys, "stdlib_module_names", frozenset()) | {"numpy"}  # no list before Python 3.10
_HOLDERS = (types.MethodType, types.BuiltinMethodType, type([].__len__), types.MappingProxyType, memoryview)
_WORD = object.__basicsize__ // 2


def module_of(cls: type) -> str:
    """Return the name of the module that made the class; empty if it does not say (classes made by calls)."""
    return str(type.__getattribute__(cls, "__module__") or "")


def package_of(cls: type) -> str:
    """Return the name of the package that `cls` is from."""
    return module_of(cls).partition(".")[0]


def type_name(cls: type) -> str:
    """Return `module.qualname`, the module left out for builtins and the notebook's own classes."""
    module = module_of(cls)
    return cls.__qualname__ if module in ("builtins", "__main__") else f"{module}.{cls.__qualname__}"


def is_notebooks(cls: type) -> bool:
    """Whether a cell defined the class."""
    return module_of(cls) == "__main__"


def solid_base(cls: type) -> type:
    """Return the nearest base that is not made by a class statement."""
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


@functools.lru_cache(maxsize=4096)
def has_hidden_state(cls: type) -> bool:
    """Whether instances hold more than attributes, slots and the content of a builtin: state kept in C.

    Only `__reduce_ex__` can tell that state.
    """
    base = solid_base(cls)
    if base is not object and base not in PLAIN_BASES:
        return True
    slots = sum(isinstance(v, types.MemberDescriptorType) for c in cls.__mro__ for v in vars(c).values())
    return bool(cls.__basicsize__ - base.__basicsize__ > _WORD * (slots + 2))


@functools.lru_cache(maxsize=4096)
def has_own_pickling(cls: Any) -> bool:
    """Whether the class says itself what of it is saved."""
    return any(getattr(cls, name, None) is not getattr(object, name, None) for name in _PICKLING)


@functools.lru_cache(maxsize=4096)
def is_value(cls: Any) -> bool:
    """Whether instances are values of Python or NumPy: without attributes, compared and hashed by what they are."""
    if package_of(cls) not in _LIBRARY or cls.__dictoffset__ or issubclass(cls, _HOLDERS):
        return False
    if package_of(cls) == "numpy" and cls.__name__ == "void":
        return False  # looks at the memory of an array
    return cls.__hash__ is not None and not hashes_by_identity(cls) and cls.__eq__ is not object.__eq__


@functools.lru_cache(maxsize=4096)
def pickles_by_default(cls: Any) -> bool:
    """Whether instances are their attributes and slots, and are made and filled as Python does by itself."""
    return (
        not has_hidden_state(cls)
        and solid_base(cls) is object
        and not has_own_pickling(cls)
        and not hasattr(cls, "__setstate__")
        and cls not in copyreg.dispatch_table
        and all(getattr(cls, name) is getattr(object, name) for name in ("__new__", "__setattr__"))
    )


def attributes(obj: Any) -> dict[str, Any] | None:
    """Return the instance's own dictionary itself, or None if it has none."""
    try:
        found = object.__getattribute__(obj, "__dict__")
    except (AttributeError, TypeError):
        return None
    return found if type(found) is dict else None


def slots(obj: Any) -> dict[str, Any]:
    """Return the filled slots by attribute name."""
    found: dict[str, Any] = {}
    for name in copyreg._slotnames(type(obj)):  # type: ignore[attr-defined]
        try:
            found[name] = object.__getattribute__(obj, name)
        except AttributeError:
            continue
    return found


def content(obj: Any) -> Any:
    """Return what the builtin base of `obj` holds, as an exact builtin; None if the base is `object`."""
    if isinstance(obj, dict):
        return list(dict.items(obj))
    for base in _SEQUENCES:
        if isinstance(obj, base):
            return list(base.__iter__(obj))
    if isinstance(obj, int):
        return int.__int__(obj)
    if isinstance(obj, float):
        return float.__float__(obj)
    if isinstance(obj, complex):
        return complex.__add__(obj, 0)
    if isinstance(obj, str):
        return str.__str__(obj)
    if isinstance(obj, (bytes, bytearray)):
        return memoryview(obj).tobytes()
    return None


def is_cached(cls: type, name: str) -> bool:
    """Whether attribute `name` is by its making a cache: a `cached_property` or one named a cache."""
    if is_named_cache(cls, name) or name in _CACHES.get(module_of(cls).partition(".")[0], ()):
        return True
    for base in cls.__mro__:
        if name in vars(base):
            found = type(vars(base)[name])
            return found is functools.cached_property or "cache" in found.__name__.lower()
    return False


def reduced(obj: Any) -> Any:
    """Return the parts that pickling would take, as a list; iterators among them are drained, a library's caches left out.

    Raises whatever the type raises if it cannot be pickled. For types of libraries only.
    """
    found = obj.__reduce_ex__(4)
    if isinstance(found, str):
        return [found]
    parts = [list(part) if i in (3, 4) and part is not None else part for i, part in enumerate(found)]
    if len(parts) > 2:
        parts[2] = _uncached(type(obj), parts[2])
    return parts


def _uncached(cls: type, state: Any) -> Any:
    """Return a state without caches; attributes that are nothing but caches are none."""
    if type(state) is dict:
        return {k: v for k, v in state.items() if not (type(k) is str and is_named_cache(cls, k))} or None
    if type(state) is tuple:
        parts = [_uncached(cls, s) if type(s) is dict else s for s in state]
        return tuple(p for p, s in zip(parts, state) if p is not None or type(s) is not dict)
    return state


def class_body(cls: type) -> dict[str, Any]:
    """Return what a class statement made: without what Python itself adds to a class that is used."""
    return {k: v for k, v in list(vars(cls).items()) if k not in _VOLATILE}


def function_parts(function: types.FunctionType) -> dict[str, Any]:
    """Return what makes the function besides its code and its globals, which are bound late."""
    return {
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "closure": function.__closure__,
        "attributes": function.__dict__,
    }


def cell_contents(cell: types.CellType) -> Any:
    """Return the list of what the closure cell holds: one object, or none."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


@functools.lru_cache(maxsize=4096)
def has_own_reduction(cls: type) -> bool:
    """Whether the class overrides `__reduce__` or `__reduce_ex__`: what it returns is then the canonical state."""
    return any(getattr(cls, name) is not getattr(object, name) for name in _PICKLING[:2])


def hashes_by_identity(cls: type) -> bool:
    """Whether the hash of instances is their address."""
    return getattr(cls, "__hash__", None) in _ADDRESS


def is_named_cache(cls: type, name: str) -> bool:
    """Whether a library calls its attribute a cache."""
    return "cache" in name.lower() and not is_notebooks(cls)


def behind(proxy: types.MappingProxyType[Any, Any]) -> Any:
    """Return the mapping that a read-only view looks at."""
    return gc.get_referents(proxy)[0]


def settled(cls: type, name: str, value: Any) -> Any:
    """Return an attribute's value, None for an empty container that a library keeps privately.

    Libraries make one where they had None as soon as the object is looked at.
    """
    lazy = name[:1] == "_" and type(value) in (dict, list, set, tuple) and not value
    return None if lazy and not is_notebooks(cls) else value


def is_benign(cls: type, name: str) -> bool:
    """Whether adding the attribute changes nothing that a program can see: a cache, or a library's private matter."""
    return is_cached(cls, name) or (name[:1] == "_" and not is_notebooks(cls))


def is_shared_service(cls: type) -> bool:
    """Whether many values hold one object of this type without being related by it: loggers, locks, pandas' records."""
    return (
        module_of(cls) in ("logging", "_thread", "pandas._libs.internals", "weakref")
        or cls.__name__ == "Logger"
    )
