"""The notebook's own classes and functions: they travel as source, data refers to them by name and cell."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from . import prints, walk

Key = tuple[str, int]
LRU_CACHE = type(functools.lru_cache(maxsize=None)(lambda: None))


def is_definition(obj: Any) -> bool:
    """Whether a statement of the notebook defines `obj`: a class, a function, or a decorated one.

    What a notebook function *returns* (a closure) is data and not a definition.
    """
    if isinstance(obj, type):
        return walk.is_notebooks(obj) and "<locals>" not in obj.__qualname__
    if isinstance(obj, types.FunctionType):
        return obj.__module__ == "__main__" and "<locals>" not in obj.__qualname__
    own = walk.attributes(obj)
    if own is None or "__wrapped__" not in own:
        return False
    return own.get("__module__") == "__main__" and "<locals>" not in str(own.get("__qualname__", ""))


class Definitions:
    """Side table (name, cell) ↔ object, all versions kept.

    The name is that of the notebook's variable, with attributes for what is nested in a class (`A.fit`).
    """

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self._objects: dict[Key, Any] = {}
        self._keys: dict[int, Key] = {}
        self._states: dict[int, Any] = {}
        self._former: list[Any] = []
        """Objects of statements that ran again: they keep their names, and nothing else may get their ids; and `spare`."""

    def learn(self, namespace: dict[str, Any], names: Iterable[str], cell: int) -> None:
        """Record what the cell with this index has defined under `names`; `namespace` is the notebook's."""
        self.namespace = namespace
        for name in sorted(names, key=lambda n: (n != getattr(namespace.get(n), "__qualname__", n), n)):
            if name in namespace:
                self._learn(name, namespace[name], cell, set())

    def _learn(self, path: str, obj: Any, cell: int, seen: set[int]) -> None:
        if id(obj) in seen or not is_definition(obj):
            return
        seen.add(id(obj))
        known = self._keys.get(id(obj))
        if known is not None and known != (path, cell):
            return  # another name of an earlier definition
        before = self._objects.get((path, cell))
        if before is not None and before is not obj:
            self._former.append(before)
        self._objects[(path, cell)] = obj
        self._keys[id(obj)] = (path, cell)
        self._states[id(obj)] = self._state(obj)
        for label, part in _nested(obj):
            self._learn(f"{path}.{label}", part, cell, seen)

    def name_of(self, obj: Any) -> Key | None:
        """Return (name, cell) of a definition of the notebook; None if it is none or was never learned."""
        return self._keys.get(id(obj))

    def resolve(self, name: str, cell: int) -> Any:
        """Return the object that cell `cell` defined as `name`. Raises LookupError if that cell has not run here."""
        try:
            return self._objects[(name, cell)]
        except KeyError:
            raise LookupError(f"{name}, defined in cell {cell}, is not known in this kernel") from None

    def spare(self, value: Any) -> None:
        """Keep a value from dying if the notebook would see it: its last words belong to the cell that gives it up.

        That cell has run, or runs, in another kernel; here its name only makes place.
        """
        finalizers: Any = getattr(weakref.finalize, "_registry", ())
        if finalizers or any(
            isinstance(obj, type) and hasattr(obj, "__del__") for obj in self._objects.values()
        ):
            self._former.append(value)

    def of_cell(self, cell: int) -> dict[str, Any]:
        """Return what the cell was last known to define, by the name of the notebook's variable."""
        return {name: obj for (name, at), obj in self._objects.items() if at == cell and "." not in name}

    def changed(self, obj: Any) -> str | None:
        """Return why a learned definition is no longer what its cell made; None if it still is."""
        before = self._states[id(obj)]
        name = self._keys[id(obj)][0]
        if isinstance(obj, LRU_CACHE) and obj.cache_info().currsize:
            return f"{name} has cached results, which belong to its kernel"
        if before != self._state(obj):
            kind = "class" if isinstance(obj, type) else "function"
            return f"{kind} {name} was changed after its definition"
        return None

    def _state(self, obj: Any) -> Any:
        if isinstance(obj, type):
            return [(k, self._part(v)) for k, v in walk.class_body(obj).items()]
        if isinstance(obj, types.FunctionType):
            registry = getattr(obj, "registry", None)
            if isinstance(
                registry, types.MappingProxyType
            ):  # singledispatch: its cache changes with every call
                return [(id(k), id(v)) for k, v in registry.items()]
            return (id(obj.__code__), {k: self._part(v) for k, v in walk.function_parts(obj).items()})
        return None

    def _part(self, value: Any) -> Any:
        if type(value) in walk.ATOMS and type(value) is not float:
            return (type(value).__name__, value)
        if isinstance(value, (type, types.FunctionType, staticmethod, classmethod, property)):
            return id(value)
        found = prints.fingerprint(value)
        return id(value) if found is None else found


def _nested(obj: Any) -> list[tuple[str, Any]]:
    if not isinstance(obj, type):
        inner = (walk.attributes(obj) or {}).get("__wrapped__")
        return [] if inner is None else [("__wrapped__", inner)]
    found: list[tuple[str, Any]] = []
    body: Mapping[str, Any] = vars(obj)
    for name, value in body.items():
        if isinstance(value, (staticmethod, classmethod)):
            found.append((name, value.__func__))
        elif isinstance(value, property):
            parts = (("fget", value.fget), ("fset", value.fset), ("fdel", value.fdel))
            found.extend((f"{name}.{label}", part) for label, part in parts if part is not None)
        else:
            found.append((name, value))
    return found
