"""What modules keep to themselves between calls: their globals, and the attributes of their classes and functions.

For packages of which nothing else is known, and for the modules of the project: a call may set what later calls feel,
though no name of the notebook holds it. Packages written in C keep what they keep where this does not see it.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import prints

MOST = 300
"""Modules of one package that are looked at."""
CACHE = re.compile(r"cache|memo(?!ry)|_lock$", re.IGNORECASE)
"""Names of what may come and go without anybody feeling it."""
CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)
ATOMS = (int, float, complex, str, bytes, bool, type(None))
SEPARATOR = "\0"


@dataclass(frozen=True)
class State:
    """What `take` saw. Holds none of the objects."""

    seen: prints.Prints
    atoms: Mapping[str, Any]
    """Numbers, texts and the like by place."""


def take(modules: Mapping[str, str], *, budget_seconds: float) -> State:
    """Look at every loaded module of `modules`: name → resource that its state is.

    Resources that start with ``@lib:`` stand for a package with all its modules. Code of the modules is not called.
    """
    atoms, values = _places(modules)
    return State(prints.take(values, budget_seconds=budget_seconds, related=False), atoms)


def changed(before: State, modules: Mapping[str, str], *, budget_seconds: float) -> set[str]:
    """Return the resources whose state is not what it was. What had no name before and is private is benign."""
    atoms, values = _places(modules)
    after = prints.take(values, budget_seconds=budget_seconds, related=False)
    different, _, _ = prints.changed(before.seen, after, values, budget_seconds=budget_seconds)
    different = {place for place in different if place in values}
    new = {p for p in atoms.keys() | values.keys() if not _private(p)}
    new -= before.atoms.keys() | before.seen.digests.keys()
    gone = (before.atoms.keys() | before.seen.digests.keys()) - (atoms.keys() | values.keys())
    other = {
        place
        for place, old in before.atoms.items()
        if place in values or (place in atoms and not _same(old, atoms[place]))
    }
    other |= {place for place in before.seen.digests if place in atoms}
    return {place.partition(SEPARATOR)[0] for place in different | new | gone | other}


def _private(place: str) -> bool:
    return place.rpartition(".")[2][:1] == "_"


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


def _places(modules: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is in each place, atoms apart."""
    atoms: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for module, resource in _loaded(modules):
        for name, value in _data(module):
            place = f"{resource}{SEPARATOR}{module.__name__}.{name}"
            (atoms if type(value) in ATOMS else values)[place] = value
    return atoms, values


def _loaded(modules: Mapping[str, str]) -> Iterator[tuple[types.ModuleType, str]]:
    for name, resource in modules.items():
        names = [name]
        if resource.startswith("@lib:"):
            names += [n for n in list(sys.modules) if n.startswith(name + ".")][: MOST - 1]
        for each in names:
            module = sys.modules.get(each)
            if type(module) is types.ModuleType:  # one that loads itself when touched is left alone
                yield module, resource


def _data(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if name[:2] == "__" or CACHE.search(name):
            continue
        if not isinstance(value, CODE):
            yield name, value
        elif getattr(value, "__module__", None) == module.__name__:
            yield from ((f"{name}.{own}", held) for own, held in _held(value))


def _held(code: Any) -> Iterator[tuple[str, Any]]:
    """Return what a class or function of the module holds."""
    if isinstance(code, type):
        for name, value in list(vars(code).items()):
            data = not isinstance(value, (*CODE, staticmethod, classmethod, property))
            if data and name[:2] != "__" and not CACHE.search(name) and not hasattr(type(value), "__get__"):
                yield name, value
    elif isinstance(code, types.FunctionType):
        yield from code.__dict__.items()
        defaults = [*(code.__defaults__ or ()), *(code.__kwdefaults__ or {}).values()]
        yield from ((f"<{n}>", v) for n, v in enumerate(defaults) if isinstance(v, (list, dict, set)))
