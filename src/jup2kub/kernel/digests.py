"""Digest of a value alone: not of identity, sharing, addresses or the hash seed. For comparing two executions."""

from __future__ import annotations

import hashlib
import io
import marshal
import sys
import types
from typing import Any

from . import memory, refusals, walk
from .rewrite import as_written

_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis)})
_CONTENT_VERSION = 2  # the last one of `marshal` that writes no references: equal values give equal bytes

_DRAWING = ("matplotlib", "mpl_toolkits", "seaborn")
"""Packages whose objects change as they are drawn, by what was drawn before: the picture is compared, as an output."""


def digest(obj: Any) -> str:
    """Return 32 hexadecimal digits, or `opaque:<type>` if the whole value is of a kind that has no content.

    Floats and arrays count bit by bit (every NaN object is alike if its bits are), dictionaries in their order, sets
    without order, objects by class name and attributes, functions by their code. Caches do not count.
    """
    found = _Digester().of(obj)
    return found if found.startswith("opaque:") else found[:32]


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _Digester:
    """Keeps digests by id, and objects alive so that ids stay theirs."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        self._open: dict[int, int] = {}
        self._keep: list[Any] = []

    def of(self, obj: Any) -> str:
        cls = type(obj)
        if cls in _PLAIN:
            return hashlib.blake2b(marshal.dumps(obj, _CONTENT_VERSION), digest_size=16).hexdigest()
        known = self._known.get(id(obj))
        if known is not None:
            return known
        if id(obj) in self._open:
            return _hash("cycle", str(len(self._open) - self._open[id(obj)]))
        self._open[id(obj)] = len(self._open)
        self._keep.append(obj)
        try:
            found = self._part(obj, cls)
        except RecursionError:
            raise
        except Exception:
            found = "opaque:" + walk.type_name(cls)
        finally:
            del self._open[id(obj)]
        self._known[id(obj)] = found
        return found

    def _sequence(self, label: str, items: list[Any]) -> str:
        if set(map(type, items)) <= _PLAIN:
            flat = hashlib.blake2b(marshal.dumps(items, _CONTENT_VERSION), digest_size=16).hexdigest()
            return _hash(label, "plain", flat)
        return _hash(label, *map(self.of, items))

    def _part(self, obj: Any, cls: type) -> str:
        if cls in (list, tuple):
            return self._sequence(cls.__name__, list(obj))
        if cls is dict:
            return _hash(
                "dict", self._sequence("keys", list(obj)), self._sequence("values", list(obj.values()))
            )
        if cls in (set, frozenset):
            return _hash(cls.__name__, *sorted(map(self.of, obj)))
        if cls in (bytearray, memoryview):
            return _hash(cls.__name__, hashlib.blake2b(obj, digest_size=16).hexdigest())
        if isinstance(obj, type):
            return self._class(obj)
        if isinstance(obj, types.FunctionType):
            return self._function(obj)
        if isinstance(obj, types.CodeType):
            return self._code(obj)
        if isinstance(obj, types.MappingProxyType):
            return self._sequence("proxy", [walk.behind(obj)])
        if isinstance(obj, types.CellType):
            return self._sequence("cell", walk.cell_contents(obj))
        if isinstance(obj, types.ModuleType):
            return _hash("module", obj.__name__)
        if isinstance(obj, (types.BuiltinFunctionType, types.MethodType)):
            owner = obj.__self__
            return _hash(
                "method", obj.__name__, self.of(None if isinstance(owner, types.ModuleType) else owner)
            )
        return self._other(obj, cls)

    def _other(self, obj: Any, cls: type) -> str:
        numpy, pandas, torch = (sys.modules.get(name) for name in ("numpy", "pandas", "torch"))
        if numpy is not None and isinstance(obj, numpy.ndarray):
            return self._array(obj, cls, numpy)
        if pandas is not None and isinstance(obj, (pandas.DataFrame, pandas.Series)):
            return self._frame(obj, cls)
        if torch is not None and isinstance(obj, torch.Tensor):
            return _hash("tensor", self.of(obj.detach().cpu().numpy()), str(obj.requires_grad))
        if isinstance(obj, (io.BytesIO, io.StringIO)):
            return _hash(walk.type_name(cls), self.of(obj.getvalue()), str(obj.tell()))
        drawn = walk.module_of(cls).partition(".")[0] in _DRAWING
        if drawn or isinstance(obj, types.GeneratorType) or refusals.reason_for(cls) is not None:
            return "opaque:" + walk.type_name(cls)
        if isinstance(obj, walk.ITERATORS):
            return self._sequence(walk.type_name(cls), walk.reduced(obj))
        if isinstance(obj, BaseException):
            return _hash(
                walk.type_name(cls), self._sequence("args", list(obj.args)), self._attributes(obj, cls)
            )
        return self._instance(obj, cls)

    def _instance(self, obj: Any, cls: type) -> str:
        walk.attributes(obj)  # an empty dictionary is there once it was asked for: let that be now
        parts = [walk.type_name(cls), self.of(walk.content(obj))]
        told: frozenset[str] = frozenset()
        if not walk.is_notebooks(cls) and (walk.has_hidden_state(cls) or walk.has_own_reduction(cls)):
            parts.append(self._sequence("reduced", walk.reduced(obj)))
        elif not walk.is_notebooks(cls) and walk.has_own_pickling(cls):
            # its own word on what it is: attributes that its class gave it come back as the object's own
            state = walk.reduced(obj)[2:3]
            if state and type(state[0]) is dict:
                told = frozenset(state[0])
                public = {k: v for k, v in state[0].items() if type(k) is not str or k[:1] != "_"}
                parts.append(self.of(public))
        elif walk.has_hidden_state(cls):
            return "opaque:" + walk.type_name(cls)
        return _hash(*parts, self._attributes(obj, cls, told))

    def _attributes(self, obj: Any, cls: type, told: frozenset[str] = frozenset()) -> str:
        """Digest of the attributes but those in `told`, which the object itself has given as its state."""
        found = {**(walk.attributes(obj) or {}), **walk.slots(obj)}
        private = walk.has_own_pickling(cls) and not walk.is_notebooks(cls)
        kept = {
            k: walk.settled(cls, k, v)
            for k, v in found.items()
            if k not in told and not walk.is_cached(cls, k) and not (private and k[:1] == "_")
        }
        return _hash(self._sequence("names", list(kept)), self._sequence("values", list(kept.values())))

    def _array(self, obj: Any, cls: type, numpy: Any) -> str:
        layout = (walk.type_name(cls), obj.dtype.str, str(obj.dtype), str(obj.shape))
        plain = numpy.ndarray.view(obj, numpy.ndarray)
        own = "" if cls is numpy.ndarray else self._attributes(obj, cls)
        if obj.dtype.hasobject or obj.dtype.kind == "T":
            return _hash(*layout, self._sequence("items", plain.ravel().tolist()), own)
        if obj.size == 0 or obj.itemsize == 0:
            return _hash(*layout, own)
        dense = plain if plain.flags.c_contiguous else plain.copy(order="C")
        content = hashlib.blake2b(memory.raw(*memory.span(dense)), digest_size=16).hexdigest()
        return _hash(*layout, content, own)

    def _frame(self, obj: Any, cls: type) -> str:
        columns = [obj._ixs(i, axis=1) for i in range(obj.shape[1])] if obj.ndim == 2 else [obj]
        values = [self.of(column.array) for column in columns]
        labels = [self.of(axis) for axis in obj.axes] + [
            self.of(getattr(obj, "_name", None)),
            self.of(dict(obj.attrs)),
        ]
        return _hash(walk.type_name(cls), *labels, *values)

    def _class(self, cls: type) -> str:
        if not walk.is_notebooks(cls):
            return _hash("class", walk.type_name(cls))
        body = {
            k: v for k, v in vars(cls).items() if not (k[:2] == "__" and k[-2:] == "__" and k != "__init__")
        }
        inner = [_unwrapped(v) for v in body.values() if not isinstance(v, types.GetSetDescriptorType)]
        return _hash("class", cls.__qualname__, self._sequence("names", list(body)), *map(self.of, inner))

    def _function(self, function: types.FunctionType) -> str:
        name = f"{function.__module__}.{function.__qualname__}"
        parts = [function.__defaults__, function.__kwdefaults__, function.__closure__]
        return _hash("function", name, self._code(function.__code__), *map(self.of, parts))

    def _code(self, code: types.CodeType) -> str:
        """By instructions, names and constants as the user wrote them: not by file name and line."""
        code = as_written(code)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return _hash("code", code.co_name, code.co_code.hex(), repr(names), *map(self.of, code.co_consts))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, (staticmethod, classmethod)):
        return value.__func__
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    return None if isinstance(value, types.MemberDescriptorType) else value
