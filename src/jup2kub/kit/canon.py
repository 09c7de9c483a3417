"""Canonical JSON, digests, and frozen dataclasses to and from JSON.

Python >= 3.9 and the standard library only: pods carry this module.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import functools
import hashlib
import json
import types
import typing
from typing import Any, Iterable, Mapping, Type, TypeVar, Union

T = TypeVar("T")


def canonical(value: object) -> bytes:
    """Return the one JSON text of `value`: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: object) -> str:
    """Return the sha256 (64 hexadecimal digits) of bytes, or of the canonical JSON of anything else."""
    data = value if isinstance(value, (bytes, bytearray, memoryview)) else canonical(value)
    return hashlib.sha256(data).hexdigest()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be, or None."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def to_json(value: Any) -> Any:
    """Turn frozen dataclasses, tuples, sets and mappings into plain JSON values; sets are sorted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, collections.abc.Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(v) for v in value), key=canonical)
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


@functools.cache
def _hints(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def from_json(cls: Type[T], data: Any) -> T:
    """Build a dataclass from the JSON made by `to_json`.

    Raises ValueError for an unknown or missing key (naming the nearest known one) and for a wrong shape.
    """
    return typing.cast(T, _build(cls, data, cls.__name__))


def _build(hint: Any, data: Any, where: str) -> Any:
    if hint is Any or hint is object:
        return data
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union or origin is getattr(types, "UnionType", Union):
        if data is None and type(None) in args:
            return None
        rest = [a for a in args if a is not type(None)]
        return _build(rest[0], data, where) if len(rest) == 1 else data
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), data, where)
    if origin is tuple:
        _expect(data, list, where)
        inner = [args[0]] * len(data) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(data):
            raise ValueError(f"{where}: {len(inner)} items wanted, {len(data)} found")
        return tuple(_build(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(inner, data)))
    if origin in (frozenset, set, list):
        _expect(data, list, where)
        return origin(_build(args[0], v, where) for v in data)
    if origin in (dict, collections.abc.Mapping):
        _expect(data, dict, where)
        key = int if args[0] is int else str
        return {key(k): _build(args[1], v, f"{where}.{k}") for k, v in data.items()}
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(hint, type):
        _expect(data, hint, where)
    return data


def _expect(data: Any, kind: type, where: str) -> None:
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise ValueError(f"{where}: {kind.__name__} wanted, {type(data).__name__} found")


def _dataclass(cls: type, data: Any, where: str) -> Any:
    _expect(data, dict, where)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            near = nearest(key, fields)
            raise ValueError(f"{where}: unknown key {key!r}" + (f"; did you mean {near!r}?" if near else ""))
    hints = _hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _build(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: {name!r} is missing")
    return cls(**values)
