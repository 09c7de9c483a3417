"""Fingerprints: whether a value was changed in place, and which names share what can change."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import hashing, walk
from .digests import digest
from .printer import Keys, Opaque, Printer

__all__ = ["Prints", "aliases", "changed", "digest", "fingerprint", "take"]

_MUTABLE_BY_NAME = (list, dict, set, bytearray, object, types.CellType)


@dataclass(frozen=True)
class Prints:
    """What `take` saw. Holds no values alive."""

    digests: Mapping[str, str | None]
    """Fingerprint by name; None = over budget, or a state that cannot be seen."""
    ids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Ids of the objects reached that can be changed; valid while they live."""
    spans: Mapping[str, tuple[tuple[int, int, bool], ...]] = field(default_factory=dict)
    """Memory that arrays look at: low and high address, and whether a pandas object does (copy-on-write)."""
    keys: Mapping[str, Keys] = field(default_factory=dict)
    """Attribute names of the objects reached, bounded; for telling an added cache from a change."""


def take(values: dict[str, Any], *, budget_seconds: float | None = None, related: bool = True) -> Prints:
    """Fingerprint every value. Nothing is changed and no code of the notebook is called.

    After `budget_seconds` (None = no limit) the names that are left get None. `related`: `aliases` will be asked.
    """
    clock = hashing.Clock(budget_seconds)
    digests: dict[str, str | None] = {}
    ids: dict[str, frozenset[int]] = {}
    spans: dict[str, tuple[tuple[int, int, bool], ...]] = {}
    keys: dict[str, Keys] = {}
    arrays: dict[Any, str] = {}
    alive: list[Any] = []  # an id must not be used twice while names are compared
    for name, value in values.items():
        with Printer(clock, arrays) as printer:
            try:
                digests[name] = printer.print(value)
            except (Opaque, hashing.OverBudget):
                digests[name] = None
            alive.append(printer.temporary)
            if related:
                ids[name], kept = _mutable(value, printer)
                alive.append(kept)
                spans[name] = tuple(printer.spans)
            keys[name] = printer.keys
    return Prints(digests, ids, spans, keys)


def fingerprint(value: Any, *, budget_seconds: float | None = None) -> str | None:
    """Return the fingerprint of one value, or None as in `Prints.digests`."""
    with (
        Printer(hashing.Clock(budget_seconds), {}) as printer,
        contextlib.suppress(Opaque, hashing.OverBudget),
    ):
        return printer.print(value)
    return None


def changed(
    before: Prints,
    after: Prints,
    values: Mapping[str, Any] | None = None,
    *,
    budget_seconds: float | None = None,
) -> tuple[set[str], set[str], set[str]]:
    """Return the names whose values are (changed, changed in a benign way, unknown).

    Benign: a library's object got a private attribute, or any object a cached property, and nothing else differs.
    `values`: the objects as they are now, by name; without them, and after `budget_seconds`, no difference is called
    benign.
    """
    clock = hashing.Clock(budget_seconds)
    different: set[str] = set()
    benign: set[str] = set()
    unknown: set[str] = set()
    for name, old in before.digests.items():
        new = after.digests.get(name)
        if old is None or new is None:
            unknown.add(name)
        elif old != new:
            same = (
                values is not None
                and name in values
                and _masked(values[name], before.keys[name], clock) == old
            )
            (benign if same else different).add(name)
    return different, benign, unknown


def _masked(value: Any, mask: Keys, clock: hashing.Clock) -> str | None:
    with Printer(clock, {}, mask) as printer, contextlib.suppress(Opaque, hashing.OverBudget):
        return printer.print(value)
    return None


def aliases(prints: Prints) -> tuple[frozenset[str], ...]:
    """Return the groups (two names or more) that share an object or memory that can be changed."""
    root = {name: name for name in prints.digests}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    holder: dict[int, str] = {}
    for name, found in prints.ids.items():
        for number in found:
            root[find(name)] = find(holder.setdefault(number, name))
    marks = sorted(
        (low, high, frame, name) for name, found in prints.spans.items() for low, high, frame in found
    )
    reach: dict[bool, tuple[int, str]] = {}
    for low, high, frame, name in marks:
        for other, (end, owner) in reach.items():
            if low < end and not (frame and other):
                root[find(name)] = find(owner)
        if high > reach.get(frame, (0, ""))[0]:
            reach[frame] = (high, name)
    groups: dict[str, set[str]] = {}
    for name in root:
        groups.setdefault(find(name), set()).add(name)
    return tuple(frozenset(group) for group in groups.values() if len(group) > 1)


def _mutable(value: Any, printer: Printer) -> tuple[frozenset[int], list[Any]]:
    """Return the ids of what can be changed, and the objects, which must live as long as ids are compared."""
    if type(value) in walk.ATOMS:
        return frozenset(), []
    if type(value) in (list, set) and set(map(type, value)) <= walk.ATOMS:
        return frozenset((id(value),)), [value]  # the common large case: no look at the pickler's table
    memo = printer.memo.copy().values()
    kinds = {cls for cls in {type(obj) for _, obj in memo} if _can_change(cls)}
    found = [obj for _, obj in memo if type(obj) in kinds]
    return frozenset(map(id, found)), found


def _can_change(cls: type) -> bool:
    if cls in walk.ATOMS or cls in (tuple, frozenset):
        return False
    if cls in _MUTABLE_BY_NAME:
        return True
    if issubclass(cls, (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType)):
        return False
    if walk.module_of(cls).startswith("_cython"):  # functions of compiled modules
        return False
    # What compares by value and can be hashed is a value; what hashes by identity, or not at all, has a state.
    return cls.__hash__ is None or (walk.hashes_by_identity(cls) and not walk.is_shared_service(cls))
