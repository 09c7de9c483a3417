"""What one iteration leaves to the next: recorded in a child as operations, replayed in the parent in order.

In a child every carried name is bound to a `Recorder`. It takes only what can be replayed without having been
read (`append`, `d[k] = v`, `+=`, …); anything else breaks the assumption of independence and spoils the iteration.
The parent runs the same operations on the real object, so floating point gives the same bits.
"""

from __future__ import annotations

import ctypes
import operator
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Callable

from .rewrite import Carry

METHODS = frozenset(
    ["append", "appendleft", "extend", "extendleft", "add", "update", "insert", "discard", "setdefault"]
)
INPLACE = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
    "matmul",
]
OPERATIONS = {**{n: n for n in INPLACE}, **{"i" + n: "i" + n for n in INPLACE}, "and": "and_", "or": "or_"}
"""Names in `operator` of what a recorder takes."""
Entry = tuple[Any, ...]
"""(index among the carried names, operation, keys of the item, operands…)"""


class NotIndependent(BaseException):
    """A child's iteration read what another iteration may have left; no handler of the user's may swallow it."""


class Log:
    """The operations of the iteration that is running, in program order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.spoiled = ""
        """Why the iteration is not independent; empty = it is so far."""

    def spoil(self, why: str) -> NotIndependent:
        self.spoiled = self.spoiled or why
        return NotIndependent(why)


class Frame:
    """Names of the frame that holds the loop: read, bound and unbound from outside."""

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.fast = bool(frame.f_code.co_flags & 0x1)
        code = frame.f_code
        self.names = (
            frozenset(code.co_varnames + code.co_cellvars + code.co_freevars) if self.fast else frozenset()
        )

    def get(self, name: str, default: Any = None) -> Any:
        """Return what `name` holds as the loop's body would see it, builtins apart."""
        if name in self.names:
            return self.frame.f_locals.get(name, default)
        if not self.fast and name in self.frame.f_locals:
            return self.frame.f_locals[name]
        return self.frame.f_globals.get(name, default)

    def bind(self, values: dict[str, Any]) -> None:
        """Bind names in the loop's own scope."""
        if not values:
            return
        local = self.frame.f_locals
        for name, value in values.items():
            if self.fast and name not in self.names:
                self.frame.f_globals[name] = value
            else:
                local[name] = value
        if self.fast and sys.version_info < (3, 13):
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(self.frame), ctypes.c_int(0))


class Recorder:
    """Stands for a carried object in a child."""

    __slots__ = ("_carry", "_index", "_keys", "_log")
    __array_ufunc__ = None  # numpy then leaves `array + recorder` and comparisons to us

    def __init__(self, log: Log, index: int, carry: Carry, keys: tuple[Any, ...] = ()) -> None:
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_carry", carry)
        object.__setattr__(self, "_keys", keys)

    def __getattribute__(self, name: str) -> Any:
        if name == "__array_ufunc__":
            return None
        if name in METHODS:
            return _method(self, name)
        raise _spoil(self, "." + name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _spoil(self, "." + name + " =")

    def __getitem__(self, key: Any) -> Recorder:
        log, index, carry, keys = _parts(self)
        if carry.kind != "log":
            raise _spoil(self, "[]")
        return Recorder(log, index, carry, (*keys, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        log, index, _, keys = _parts(self)
        if isinstance_recorder(value):
            other = _parts(value)
            if other[1] == index and _same(other[3], (*keys, key)):
                return  # the store that ends `d[k] += v`
            raise _spoil(value, " stored")
        log.entries.append((index, "setitem", keys, key, value))


_SLOTS = {n: Recorder.__dict__[n] for n in ("_log", "_index", "_carry", "_keys")}


def isinstance_recorder(value: Any) -> bool:
    """Whether `value` is a recorder; `isinstance` would look at its `__class__`."""
    return type(value) is Recorder


def _parts(made: Recorder) -> tuple[Log, int, Carry, tuple[Any, ...]]:
    return tuple(_SLOTS[n].__get__(made, Recorder) for n in ("_log", "_index", "_carry", "_keys"))


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other))


def _spoil(made: Recorder, what: str) -> NotIndependent:
    log, _, carry, _ = _parts(made)
    return log.spoil(f"reads `{carry.name}` ({what.strip()}), which earlier iterations may have changed")


def _method(made: Recorder, name: str) -> Callable[..., Any]:
    log, index, carry, keys = _parts(made)
    if carry.kind != "log":
        raise _spoil(made, "." + name)

    def record(*args: Any, **kwargs: Any) -> Any:
        if name == "setdefault":
            if kwargs or len(args) != 2:
                raise _spoil(made, ".setdefault")
            log.entries.append((index, "setdefault", keys, *args))
            return Recorder(log, index, carry, (*keys, args[0]))
        if name in ("extend", "extendleft", "update"):
            # consumed now, as the real method would; the operand may be a generator
            args = tuple(_solid(a) for a in args)
        log.entries.append((index, "call", keys, name, args, kwargs))
        return None

    return record


def _solid(value: Any) -> Any:
    return list(value) if hasattr(value, "__next__") else value


def _arithmetic(name: str, inplace: bool) -> Callable[[Recorder, Any], Any]:
    def method(self: Recorder, other: Any) -> Any:
        log, index, carry, keys = _parts(self)
        if carry.kind != "log" or isinstance_recorder(other) or (keys and not inplace):
            raise _spoil(self, name)
        log.entries.append((index, "i" + name if inplace else name, keys, other))
        return self

    return method


def _comparison(name: str) -> Callable[[Recorder, Any], bool]:
    def method(self: Recorder, other: Any) -> bool:
        log, index, carry, _ = _parts(self)
        if carry.kind == "best":
            log.entries.append((index, "best", (), other))
            return True
        if carry.kind in ("max", "min"):
            log.entries.append((index, carry.kind, (), other))
            return not carry.first  # so that `max` gives the recorder back
        raise _spoil(self, name)

    return method


def _forbidden(name: str) -> Callable[..., Any]:
    def method(self: Recorder, *_: Any, **__: Any) -> Any:
        raise _spoil(self, name)

    return method


for _name in INPLACE:
    setattr(Recorder, f"__i{_name}__", _arithmetic(_name, True))
    setattr(Recorder, f"__{_name}__", _arithmetic(_name, False))
    setattr(Recorder, f"__r{_name}__", _forbidden(_name))
for _name in ("lt", "gt", "le", "ge"):
    setattr(Recorder, f"__{_name}__", _comparison(_name))
for _name in [
    "eq",
    "ne",
    "bool",
    "len",
    "iter",
    "contains",
    "hash",
    "repr",
    "str",
    "format",
    "call",
    "delitem",
    "neg",
    "pos",
    "abs",
    "invert",
    "int",
    "float",
    "complex",
    "index",
    "enter",
    "exit",
    "next",
    "reversed",
    "bytes",
    "round",
    "dir",
    "reduce",
    "reduce_ex",
    "getstate",
    "copy",
    "deepcopy",
    "array",
    "fspath",
    "divmod",
    "rdivmod",
]:
    setattr(Recorder, f"__{_name}__", _forbidden(_name))


class Unset:
    """Marks, in a child, a private name that the iteration has not assigned."""

    def __reduce__(self) -> str:
        return "UNSET"


UNSET = Unset()


def fold(
    frame: Frame, carried: Sequence[Carry], entries: Sequence[Entry], conditional: dict[str, Any]
) -> None:
    """Run one iteration's operations on the real objects of `frame`, then bind its conditional names.

    Raises what an operation raises, after everything already done for this iteration has been undone.
    """
    undo: list[Callable[[], Any]] = []
    values = {c.name: frame.get(c.name, UNSET) for c in carried}
    values.update({n: frame.get(n, UNSET) for c in carried for n in c.group})
    before = dict(values)
    try:
        for entry in entries:
            _apply(values, carried[entry[0]], entry, undo)
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    changed = {n: v for n, v in values.items() if v is not before[n]}
    changed.update(conditional)
    frame.bind(changed)


def _apply(values: dict[str, Any], carry: Carry, entry: Entry, undo: list[Callable[[], Any]]) -> None:
    _, op, keys, *operands = entry
    name, value = carry.name, values[carry.name]
    if value is UNSET:
        raise NameError(f"name {name!r} is not defined")
    if op in ("max", "min"):
        pair = (value, operands[0]) if carry.first else (operands[0], value)
        values[name] = (max if op == "max" else min)(*pair)
    elif op == "best":
        pair = (value, operands[0]) if carry.first else (operands[0], value)
        if (carry.none and value is None) or getattr(operator, carry.op)(*pair):
            values.update(operands[1])
    elif op in OPERATIONS:
        action = getattr(operator, OPERATIONS[op])
        if not keys:
            undo.append(_restore(value))
            values[name] = action(value, operands[0])
            return
        holder = _item(value, keys[:-1])
        undo.append(_restore(holder, keys[-1]))
        old = holder[keys[-1]]
        undo.append(_restore(old))
        holder[keys[-1]] = action(old, operands[0])
    else:
        holder = _item(value, keys)
        undo.append(_restore(holder, operands[0] if op in ("setitem", "setdefault") else None))
        if op == "setitem":
            holder[operands[0]] = operands[1]
        elif op == "setdefault":
            holder.setdefault(*operands)
        else:
            getattr(holder, operands[0])(*operands[1], **operands[2])


def _item(value: Any, keys: Sequence[Any]) -> Any:
    for key in keys:
        value = value[key]
    return value


def _restore(holder: Any, key: Any | None = None) -> Callable[[], Any]:
    """Return what puts `holder` back as it is now; lists cheaply by length, since only appending is recorded."""
    if isinstance(holder, list):
        length = len(holder)
        if isinstance(key, int) and -length <= key < length:
            old = holder[key]
            return lambda: holder.__setitem__(key, old)
        return lambda: holder.__delitem__(slice(length, None))
    if isinstance(holder, dict) and key is not None:
        if key in holder:
            old = holder[key]
            return lambda: holder.__setitem__(key, old)
        return lambda: holder.pop(key, None)
    if isinstance(holder, dict):
        kept = dict(holder)
        return lambda: _refill(holder, kept)
    return lambda: None


def _refill(holder: Any, kept: Any) -> None:
    holder.clear()
    holder.update(kept)
