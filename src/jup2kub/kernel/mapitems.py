"""The items of a loop: which iterables may be listed ahead without anybody noticing."""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Iterator
from typing import Any

from .mapstate import is_array

_SEQUENCES: Any = (
    list,
    tuple,
    range,
    str,
    bytes,
    dict,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
_ITERATORS: Any = tuple(
    type(i)
    for i in (
        iter([]),
        iter(()),
        iter(range(0)),
        iter(range(1 << 70)),
        iter(""),
        iter("é"),
        iter(b""),
        reversed([]),
    )
)
_EMPTY: dict[int, int] = {}
_VIEWS: list[Any] = [_EMPTY, _EMPTY.values(), _EMPTY.items(), set()]
_DICT_ITERATORS = (*(type(iter(v)) for v in _VIEWS), type(reversed(_EMPTY)))
_WRAPPERS = (enumerate, zip, reversed, map)


def why_not(value: Any) -> str:
    """Return why `value` cannot be listed ahead; empty = it can: nothing is consumed that others may see."""
    if type(value) in _SEQUENCES or type(value) in _ITERATORS or type(value) in _DICT_ITERATORS:
        return ""
    if is_array(value) or _is_pandas(value):
        return ""
    if type(value) in _WRAPPERS:
        return _wrapped(value)
    inner = _behind(value)
    if inner is not None:
        return why_not(inner)
    return f"an iterable of type `{type(value).__name__}` may be consumed by the loop"


def _wrapped(value: Any) -> str:
    if isinstance(value, reversed):
        return ""  # over a sequence: its items can be listed
    made: tuple[Any, ...] = value.__reduce__()[1]
    if isinstance(value, map):
        function, *inner = made
        builtin = isinstance(function, types.BuiltinFunctionType)
        row = isinstance(function, types.MethodType) and function.__name__ == "_make"
        if not builtin and not row and not isinstance(function, type):
            return "`map` calls a function for every item"
        if getattr(function, "__name__", "") == "next":
            return "`map` of next() consumes"
    else:
        inner = list(made[:1]) if isinstance(value, enumerate) else list(made)
    for one in inner:
        reason = why_not(one)
        if reason:
            return reason
    return ""


def _is_pandas(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index))


def _behind(value: Any) -> Any:
    """Return what a progress bar, or an unstarted row generator of pandas, goes over; None if it is neither."""
    if is_bar(value):
        return value.iterable
    if isinstance(value, types.GeneratorType) and value.gi_frame is not None:
        code, fresh = value.gi_code, value.gi_frame.f_lasti <= 4
        known = (code.co_name == "__iter__" and _module(value).startswith("tqdm")) or (
            code.co_name in ("iterrows", "items") and _module(value).startswith("pandas")
        )
        if known and fresh:
            holder = value.gi_frame.f_locals.get("self")
            return getattr(holder, "iterable", None) if is_bar(holder) else holder
        if code.co_name == "__iter__" and _module(value).startswith("pandas") and fresh:
            return value.gi_frame.f_locals.get("self")
    return None


def _module(generator: Any) -> str:
    frame = generator.gi_frame
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def is_bar(value: Any) -> bool:
    """Whether `value` is a tqdm progress bar over an iterable."""
    return any(c.__module__.startswith("tqdm") and c.__name__ == "tqdm" for c in type(value).__mro__) and (
        getattr(value, "iterable", None) is not None
    )


def count(value: Any) -> int | None:
    """Return how many items `value` will give, without taking any; None = that cannot be told."""
    if type(value) in (enumerate, zip, map):
        made = value.__reduce__()[1]
        inner = made[:1] if type(value) is enumerate else made[1:] if type(value) is map else made
        counts = [count(one) for one in inner]
        known = [n for n in counts if n is not None]
        return min(known) if known and len(known) == len(counts) else None
    behind = _behind(value)
    if behind is not None:
        # a frame's items() goes over its columns
        return (
            len(behind.columns)
            if value.__class__ is types.GeneratorType and _columns(value)
            else count(behind)
        )
    try:
        return operator.length_hint(value, -1) if operator.length_hint(value, -1) >= 0 else None
    except TypeError:
        return None


def _columns(generator: Any) -> bool:
    return generator.gi_code.co_name == "items" and hasattr(
        generator.gi_frame.f_locals.get("self"), "columns"
    )


class Items:
    """The rest of a loop's items, and the iterator to be pulled once for each that is done."""

    def __init__(self, source: Any, pull: Iterator[Any]) -> None:
        self._source, self._pull = source, pull
        self.total = count(source)
        """Number of items in all, the done ones included; None = not known before they are listed."""

    def listed(self, done: int) -> list[Any]:
        """Return the items from number `done` on."""
        if is_bar(self._source):
            return list(self._source.iterable)[done:]
        found = list(self._pull)
        self._pull = iter(())
        return found

    def advance(self) -> None:
        """Move a progress bar on by one; nothing else has one."""
        if is_bar(self._source):
            next(self._pull, None)

    def finish(self) -> None:
        """Let a progress bar end as if it had been iterated to its end."""
        if is_bar(self._source):
            for _ in self._pull:
                pass
