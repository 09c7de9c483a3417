"""The pickler behind fingerprints: its stream is hashed and thrown away, so nothing has to be loadable.

Exact builtins go through C untouched. Everything else is taken apart here, by attributes and slots; of the
notebook's own classes nothing is ever called.
"""

from __future__ import annotations

import _thread
import functools
import io
import itertools
import pickle
import sys
import types
import weakref
from typing import Any, Callable

from . import hashing, memory, walk

Keys = dict[int, tuple[int, frozenset[str]]]
"""Attribute names by id of the object; with the id of its type."""
_MOST_KEYS = 20_000
_VOLATILE = frozenset(
    ["__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__doc__", "__dict__"]
)
_BY_IDENTITY = (
    types.BuiltinFunctionType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.CodeType,
)
_LOCKS = (type(_thread.allocate_lock()), _thread.RLock)


class Opaque(Exception):
    """A value whose state cannot be seen."""


def token(*parts: Any) -> None:
    """Stands in the stream for an object that is not pickled as such."""


class Printer(pickle.Pickler):
    """Fingerprints one value. `mask`: attribute names as an earlier pass saw them, see `prints.changed`."""

    def __init__(self, clock: hashing.Clock, arrays: dict[Any, str], mask: Keys | None = None) -> None:
        self._digest = hashing.stream_hash()
        self._clock = clock
        self._arrays = arrays
        self._mask = mask
        self.keys: Keys = {}
        self.spans: list[tuple[int, int, bool]] = []
        """Memory looked at: (low, high, whether a pandas object does, which never writes to shared memory)."""
        self.temporary: list[Any] = []
        super().__init__(self, protocol=5, buffer_callback=self._buffer)

    def __enter__(self) -> Printer:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of every value: the notebook may see when one dies, and a pickler that writes to itself is a cycle."""
        self.clear_memo()
        self.temporary = []

    def write(self, data: Any) -> int:
        self._clock.check()
        self._digest.update(data)
        return len(data)

    def print(self, value: Any) -> str:
        """Return the fingerprint. Raises Opaque, OverBudget."""
        self._clock.check()  # what would be over budget in the end is not begun
        try:
            self.dump(value)
        except (Opaque, hashing.OverBudget):
            raise
        except Exception as error:
            raise Opaque(str(error)) from error
        return str(self._digest.hexdigest())

    def _buffer(self, buffer: pickle.PickleBuffer) -> None:
        self._digest.update(hashing.buffer_digest(buffer.raw(), self._clock).encode())

    def reducer_override(self, obj: Any) -> Any:
        if obj is token:
            return NotImplemented
        self._clock.check()
        cls = type(obj)
        rule = _RULES.get(cls)
        if rule is not None:
            return rule(self, obj)
        if isinstance(obj, type):
            return self._class(obj)
        if isinstance(obj, _BY_IDENTITY):
            return (token, ("identity", id(obj)))
        numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
        if numpy is not None and isinstance(obj, numpy.ndarray):
            return self._array(obj, numpy)
        if pandas is not None and isinstance(obj, (pandas.DataFrame, pandas.Series)):
            return self._frame(obj)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor):
            return self._tensor(obj)
        if isinstance(obj, io.IOBase) and not isinstance(obj, (io.BytesIO, io.StringIO)):
            return self._file(obj)
        return self._instance(obj, cls)

    def _made(self, obj: Any, label: str, state: Any) -> Any:
        """A token whose parts follow once `obj` is known to the pickler, so that cycles end."""
        self.temporary.append(state)
        return (token, (label, id(type(obj))), (state, None))

    def _instance(self, obj: Any, cls: type) -> Any:
        own = walk.has_own_reduction(cls) or walk.has_hidden_state(cls)
        names = self._attributes(obj, cls, public=own and not walk.is_notebooks(cls))
        if not own or (walk.is_notebooks(cls) and not walk.has_hidden_state(cls)):
            return self._made(obj, "object", [walk.content(obj), names])
        if isinstance(obj, BaseException):
            links = [obj.__cause__, obj.__context__, obj.__traceback__ is None]
            return self._made(obj, "error", [list(obj.args), names, links])
        if walk.is_notebooks(cls) and walk.has_own_reduction(cls):
            raise Opaque(cls.__qualname__)  # its pickling is code of the notebook
        if not names and walk.attributes(obj) is None:
            return NotImplemented
        return self._made(obj, "reduced", [walk.reduced(obj), names])

    def _attributes(self, obj: Any, cls: type, public: bool) -> list[Any]:
        """Return names and values, caches of libraries left out, and what is benign to have been added."""
        found = {**(walk.attributes(obj) or {}), **walk.slots(obj)}
        if len(self.keys) < _MOST_KEYS:
            self.keys[id(obj)] = (id(cls), frozenset(found))
        before = None if self._mask is None else self._mask.get(id(obj))
        kept: list[Any] = []
        for name, value in found.items():
            if walk.is_named_cache(cls, name) or (public and name[:1] == "_"):
                continue
            if (
                before is not None
                and before[0] == id(cls)
                and name not in before[1]
                and walk.is_benign(cls, name)
            ):
                continue
            kept += (name, walk.settled(cls, name, value))
        return kept

    def _class(self, obj: type) -> Any:
        if not walk.is_notebooks(obj):
            return (token, ("class", id(obj)))
        body = walk.class_body(obj)
        self.temporary.append(body)
        return (token, ("class", id(obj)), (body, None))

    def _function(self, obj: types.FunctionType) -> Any:
        if obj.__module__ != "__main__" and not obj.__closure__ and not obj.__dict__:
            return (token, ("function", id(obj)))
        parts = walk.function_parts(obj)
        if isinstance(getattr(obj, "registry", None), types.MappingProxyType):
            parts = {"registry": [(id(k), id(v)) for k, v in obj.registry.items()]}  # type: ignore[attr-defined]
        return self._made(obj, f"function {obj.__qualname__} {id(obj.__code__)}", parts)

    def _array(self, obj: Any, numpy: Any) -> Any:
        flags = (str(obj.dtype), obj.shape, obj.strides, obj.flags.writeable)
        names = [] if type(obj) is numpy.ndarray else self._attributes(obj, type(obj), public=False)
        if obj.size and obj.itemsize:
            self.spans.append((*memory.span(obj), False))
        if obj.dtype.hasobject or obj.dtype.kind == "T":
            return self._made(obj, "objects", [flags, numpy.ndarray.ravel(obj).tolist(), names])
        return self._made(obj, "array", [flags, self._array_digest(obj), names])

    def _array_digest(self, obj: Any) -> str:
        key = (memory.start(obj), obj.shape, obj.strides, obj.dtype.str)
        if key not in self._arrays:
            self._arrays[key] = hashing.array_digest(obj, self._clock)
        return self._arrays[key]

    def _frame(self, obj: Any) -> Any:
        """By column, so that a frame that merely tidied its blocks is the same."""
        columns: dict[int, Any] = {}
        for block in obj._mgr.blocks:
            values, places = block.values, block.mgr_locs.as_array.tolist()
            if type(values) is not sys.modules["numpy"].ndarray:
                columns[places[0]] = values
                continue
            if values.size:
                self.spans.append((*memory.span(values), True))
            if values.dtype == object:
                columns.update((p, row.tolist()) for p, row in zip(places, values.reshape(len(places), -1)))
            elif values.ndim == 2 and (values.flags.c_contiguous or values.nbytes < 1 << 16):
                columns.update(
                    (p, (values.dtype.str, self._array_digest(row))) for p, row in zip(places, values)
                )
            else:
                columns[places[0]] = (values.dtype.str, places, self._array_digest(values))
        state = [list(obj.axes), getattr(obj, "_name", None), obj.attrs, sorted(columns.items())]
        names = self._attributes(obj, type(obj), public=True)
        return self._made(obj, "frame", [state, obj.flags.allows_duplicate_labels, names])

    def _tensor(self, obj: Any) -> Any:
        if obj.device.type != "cpu" or str(obj.layout) != "torch.strided":
            raise Opaque("tensor")
        plain = obj.detach()
        parts = [str(obj.dtype), obj.requires_grad, tuple(obj.shape), obj.stride(), obj.grad]
        low = obj.data_ptr()
        high = (
            low
            + sum((n - 1) * s for n, s in zip(obj.shape, obj.stride())) * obj.element_size()
            + obj.element_size()
        )
        self.spans.append((low, high, False))
        data = plain.contiguous()
        size = data.numel() * data.element_size()
        content = (
            hashing.buffer_digest(memory.raw(data.data_ptr(), data.data_ptr() + size), self._clock)
            if size
            else ""
        )
        return self._made(obj, "tensor", [parts, content])

    def _file(self, obj: Any) -> Any:
        try:
            state = (obj.closed, None if obj.closed or not obj.seekable() else obj.tell())
        except (OSError, ValueError):
            state = (False, None)
        if state == (False, None):
            raise Opaque("stream")
        return (token, ("file", id(obj), state))

    def _generator(self, obj: Any) -> Any:
        frame = (
            getattr(obj, "gi_frame", None) or getattr(obj, "cr_frame", None) or getattr(obj, "ag_frame", None)
        )
        if frame is None:
            return (token, ("generator", id(obj), "finished"))
        return self._made(obj, f"generator {frame.f_lasti}", dict(frame.f_locals))

    def _iterator(self, obj: Any) -> Any:
        return self._made(obj, "iterator", walk.reduced(obj))

    def _cell(self, obj: types.CellType) -> Any:
        return self._made(obj, "cell", walk.cell_contents(obj))

    def _method(self, obj: types.MethodType) -> Any:
        return self._made(obj, "method", [obj.__self__, obj.__func__])

    def _builtin(self, obj: Any) -> Any:
        owner = obj.__self__
        if owner is None or isinstance(owner, (types.ModuleType, type)):
            return (token, ("builtin", obj.__qualname__, id(owner)))
        return self._made(obj, f"builtin {obj.__name__}", [owner])

    def _memoryview(self, obj: memoryview) -> Any:
        if not obj.contiguous:
            raise Opaque("memoryview")
        # The object below is a part of it: whoever changes one changes the other.
        state = [obj.shape, obj.readonly, hashing.buffer_digest(obj, self._clock), obj.obj]
        return self._made(obj, "memoryview", state)

    def _wrapped(self, obj: Any) -> Any:
        if isinstance(obj, property):
            return self._made(obj, "property", [obj.fget, obj.fset, obj.fdel])
        return self._made(obj, "wrapped", [obj.__func__])

    def _proxy(self, obj: Any) -> Any:
        return self._made(obj, "proxy", dict(obj))

    def _reference(self, obj: Any) -> Any:
        return (token, ("reference", id(obj())))

    def _lock(self, obj: Any) -> Any:
        return (token, ("lock", id(obj), obj.locked() if hasattr(obj, "locked") else repr(obj).split()[0]))

    def _named(self, obj: types.ModuleType) -> Any:
        return (token, ("module", obj.__name__))

    def _counter(self, obj: Any) -> Any:
        return (token, ("count", repr(obj)))

    def _lru(self, obj: Any) -> Any:
        # What is kept cannot be seen, how much can: a call that fills the cache shows.
        return self._made(obj, "cached function", [obj.__wrapped__, tuple(obj.cache_info())])


_RULES: dict[type, Callable[[Printer, Any], Any]] = {
    types.FunctionType: Printer._function,
    types.CellType: Printer._cell,
    types.MethodType: Printer._method,
    types.BuiltinFunctionType: Printer._builtin,
    types.ModuleType: Printer._named,
    types.GeneratorType: Printer._generator,
    types.CoroutineType: Printer._generator,
    types.AsyncGeneratorType: Printer._generator,
    types.MappingProxyType: Printer._proxy,
    memoryview: Printer._memoryview,
    staticmethod: Printer._wrapped,
    classmethod: Printer._wrapped,
    property: Printer._wrapped,
    itertools.count: Printer._counter,
    weakref.ReferenceType: Printer._reference,
    type(functools.lru_cache(maxsize=None)(lambda: None)): Printer._lru,
}
_RULES.update((cls, Printer._iterator) for cls in walk.ITERATORS)
_RULES.update((cls, Printer._lock) for cls in _LOCKS)
