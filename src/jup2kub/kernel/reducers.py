"""How each kind of value is taken apart when it is saved. Every rule returns a reduce tuple, or None: not mine."""

from __future__ import annotations

import ast
import functools
import gc
import itertools
import marshal
import pickle
import re
import struct
import sys
import types
from typing import Any, Callable, Optional

from . import memory, rebuild, refusals, walk
from .definitions import Definitions
from .refusals import Unshippable

Reduced = Optional[tuple[Any, ...]]


def definition(name: str, cell: int) -> Any:
    """Stands for `Definitions.resolve` in a stream; the loader puts its own in this place."""
    raise LookupError(name)


def notebook_globals() -> Any:
    """Stands for the namespace of the notebook in a stream."""
    raise LookupError("namespace")


def array(number: int, dtype: Any, shape: Any, strides: Any, writeable: bool) -> Any:
    """Stands for the view of a memory block in a stream."""
    raise LookupError("array")


class Rules:
    """The rules, and what they note while one group is pickled."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.blocks = memory.Blocks()
        self.cells: set[int] = set()
        self.current: Any = None
        """The object taken apart last: the culprit if pickling fails."""
        self._singletons: dict[str, dict[int, str]] = {}
        self._keep: list[Any] = []
        self._loaded = {name: sys.modules.get(name) for name in ("numpy", "numpy.ma", "pandas")}

    def reduce(self, obj: Any) -> Any:
        """Return how to make `obj` again, or NotImplemented: as pickle does. Raises Unshippable."""
        self.current = obj
        cls = type(obj)
        numpy = self._loaded["numpy"]
        if numpy is not None and isinstance(obj, numpy.ndarray):
            return self._array(obj, cls, numpy) or NotImplemented
        found = self._definition(obj)
        if found is None and not isinstance(obj, type):
            rule = _RULES.get(cls)
            found = rule(self, obj) if rule is not None else self._other(obj, cls)
        return NotImplemented if found is None else found

    def _definition(self, obj: Any) -> Reduced:
        key = self.definitions.name_of(obj)
        if key is None:
            if isinstance(obj, type) and walk.is_notebooks(obj):
                raise Unshippable(
                    "", f"class {obj.__qualname__} is not bound to a name by the cell that made it"
                )
            return None
        changed = self.definitions.changed(obj)
        if changed is not None:
            raise Unshippable("", changed)
        self.cells.add(key[1])
        return (definition, key)

    def _other(self, obj: Any, cls: type) -> Reduced:
        reason = refusals.reason_for(cls) or refusals.lossy(obj)
        if reason is not None:
            raise Unshippable("", reason)
        name = self._singleton(obj, cls)
        if name is not None:
            return (rebuild.module_attribute, (walk.module_of(cls), name))
        if self._loaded["pandas"] is not None and walk.module_of(cls).startswith("pandas."):
            return self._pandas(obj)
        return None

    def _singleton(self, obj: Any, cls: type) -> str | None:
        """Return the name under which the module of its type holds this very object (sentinels, global generators)."""
        module = walk.module_of(cls)
        if module in ("builtins", "__main__"):
            return None
        names = self._singletons.get(module)
        if names is None:
            loaded = sys.modules.get(module)
            held = vars(loaded) if isinstance(loaded, types.ModuleType) else {}
            names = {id(v): k for k, v in list(held.items()) if not isinstance(v, (type, types.FunctionType))}
            self._singletons[module] = names
        return names.get(id(obj))

    def _array(self, obj: Any, cls: type, numpy: Any) -> Reduced:
        if cls is numpy.ndarray:
            return self._objects(obj) if obj.dtype == object else self._plain(obj)
        reason = refusals.reason_for(cls)
        if reason is not None:
            raise Unshippable("", reason)
        masked = self._loaded["numpy.ma"]
        if cls.__reduce__ is numpy.ndarray.__reduce__ or (masked is not None and cls is masked.MaskedArray):
            plain = numpy.ndarray.view(obj, numpy.ndarray)
            plain.flags.writeable = obj.flags.writeable
            return (
                rebuild.array_subclass,
                (cls, plain),
                dict(obj.__dict__),
                None,
                None,
                rebuild.set_attributes,
            )
        return None

    def _plain(self, obj: Any) -> Reduced:
        if obj.dtype.hasobject or obj.dtype.kind == "T":
            return None  # references or strings of variable width: only NumPy knows the way
        if obj.size == 0 or obj.itemsize == 0:
            order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
            return (rebuild.empty_array, (obj.dtype, obj.shape, order, obj.flags.writeable))
        return (array, (self.blocks.add(obj), obj.dtype, obj.shape, obj.strides, obj.flags.writeable))

    def _objects(self, obj: Any) -> Reduced:
        root = obj
        while isinstance(root.base, type(obj)) and root.base.dtype == object:
            root = root.base
        if root is not obj:
            index = (memory.start(obj) - memory.start(root)) // obj.itemsize
            return (rebuild.object_view, (root, index, obj.shape, obj.strides, obj.flags.writeable))
        if not (obj.flags.c_contiguous or obj.flags.f_contiguous):
            return None
        flat = obj.reshape(-1) if obj.flags.c_contiguous else obj.T.reshape(-1)
        items = [self._nan(item) if type(item) is float and item != item else item for item in flat.tolist()]
        order = "C" if obj.flags.c_contiguous else "F"
        state = (items, obj.flags.writeable)
        return (rebuild.object_array, (obj.shape, order), state, None, None, rebuild.fill_objects)

    def _nan(self, value: float) -> Any:
        """Return a stand-in for a NaN in a list, which keeps identity: pickle itself would make new ones."""
        for name in ("numpy", "math"):
            if vars(sys.modules.get(name, types)).get("nan") is value:
                return _Nan(name)
        return value

    def _pandas(self, obj: Any) -> Reduced:
        """Keep the record of who shares a block: without it a write to one frame would show in another."""
        pandas: Any = self._loaded["pandas"]
        refs = getattr(getattr(pandas, "_libs", None), "internals", types).__dict__.get("BlockValuesRefs")
        if refs is None:
            return None
        if type(obj) is refs:
            self._keep.append(obj)
            return (rebuild.references, ())
        shared: Any = getattr(obj, "refs", None)
        if type(shared) is refs and walk.module_of(type(obj)).startswith(
            ("pandas.core.internals", "pandas._libs.internals")
        ):
            make, arguments = obj.__reduce__()[:2]
            return (rebuild.block, (make, arguments, shared))
        if type(obj).__name__ == "SingleBlockManager":
            return (type(obj), (obj.blocks[0], obj.axes[0]))
        shared = getattr(obj, "_references", None) if isinstance(obj, pandas.Index) else None
        if type(shared) is refs and shared.has_reference():
            found = obj.__reduce__()
            if not any(found[2:]):
                return (rebuild.index, (found[0], found[1], shared))
        return None

    def _function(self, obj: types.FunctionType) -> Reduced:
        if obj.__module__ != "__main__" and "<" not in obj.__qualname__:
            return None  # importable by name; if it is not, pickle says so
        closure, scope = obj.__closure__, obj.__globals__
        home = sys.modules.get(obj.__module__ or "")
        if scope is self.definitions.namespace or scope is vars(sys.modules["__main__"]):
            where: Any = _Globals()
        elif home is not None and scope is vars(home):
            where = _ModuleGlobals(home.__name__)
        else:
            raise Unshippable("", f"function {obj.__qualname__} has globals of its own")
        state = walk.function_parts(obj)
        del state["closure"]
        state["doc"], state["annotations"] = obj.__doc__, _annotations(obj)
        try:
            code = marshal.dumps(obj.__code__)
        except ValueError as error:
            raise Unshippable("", f"the code of {obj.__qualname__} cannot be saved") from error
        made = (code, obj.__module__, obj.__name__, obj.__qualname__, closure, where)
        return (rebuild.function, made, state, None, None, rebuild.finish_function)

    def _cell(self, obj: types.CellType) -> Reduced:
        held = walk.cell_contents(obj)
        return (rebuild.closure_cell, (), tuple(held) or None, None, None, rebuild.fill_cell)

    def _module(self, obj: types.ModuleType) -> Reduced:
        if sys.modules.get(obj.__name__) is not obj:
            raise Unshippable("", f"module {obj.__name__!r} cannot be imported by that name")
        return (rebuild.module, (obj.__name__,))

    def _count(self, obj: Any) -> Reduced:
        try:
            start, _, step = re.sub(r"^count\((.*)\)$", r"\1", repr(obj)).partition(", ")
            return (rebuild.counter, (ast.literal_eval(start), ast.literal_eval(step or "1")))
        except (ValueError, SyntaxError):
            raise Unshippable("", "a counter over other than plain numbers cannot be saved") from None

    def _memoryview(self, obj: memoryview) -> Reduced:
        whole = memoryview(obj.obj)
        if (whole.nbytes, whole.format, whole.shape, whole.strides) != (
            obj.nbytes,
            obj.format,
            obj.shape,
            obj.strides,
        ):
            raise Unshippable("", "a memoryview of a part of another object's memory cannot be saved")
        return (rebuild.whole_memoryview, (obj.obj, obj.readonly))

    def _dict_view(self, obj: Any) -> Reduced:
        owner = next((o for o in gc.get_referents(obj) if type(o) is dict), None)
        return None if owner is None else (rebuild.dict_view, (owner, type(obj).__name__))

    def _cached_function(self, obj: Any) -> Reduced:
        if obj.__module__ == "__main__":
            raise Unshippable("", "a caching function that is not bound to a name by the cell that made it")
        return None

    def _nan_stand_in(self, obj: Any) -> Reduced:
        return (rebuild.module_attribute, (obj.module, "nan"))

    def _globals(self, obj: Any) -> Reduced:
        return (notebook_globals, ())

    def _module_globals(self, obj: Any) -> Reduced:
        return (rebuild.module_globals, (obj.module,))


class _Globals:
    """Stands for the namespace among the arguments of a function."""


class _ModuleGlobals:
    def __init__(self, module: str) -> None:
        self.module = module


class _Nan:
    def __init__(self, module: str) -> None:
        self.module = module


def _annotations(function: types.FunctionType) -> Any:
    try:
        return dict(function.__annotations__)
    except NameError:  # Python >= 3.14 evaluates them now, and may miss a name
        return {}


_RULES: dict[type, Callable[[Rules, Any], Reduced]] = {
    types.FunctionType: Rules._function,
    types.CellType: Rules._cell,
    types.ModuleType: Rules._module,
    itertools.count: Rules._count,
    memoryview: Rules._memoryview,
    type({}.keys()): Rules._dict_view,
    type({}.values()): Rules._dict_view,
    type({}.items()): Rules._dict_view,
    type(functools.lru_cache(maxsize=None)(lambda: None)): Rules._cached_function,
    _Nan: Rules._nan_stand_in,
    _Globals: Rules._globals,
    _ModuleGlobals: Rules._module_globals,
}


class FastPickler(pickle.Pickler):
    """The C pickler: rules are asked for everything but exact builtins."""

    def __init__(self, sink: Any, rules: Rules, buffer_callback: Any) -> None:
        super().__init__(sink, protocol=5, buffer_callback=buffer_callback)
        self.rules = rules

    def reducer_override(self, obj: Any) -> Any:
        return self.rules.reduce(obj)


class ExactPickler(pickle._Pickler):
    """The pickler written in Python, slow: it also sees floats and sets, and keeps NaNs apart and sets in order."""

    def __init__(self, sink: Any, rules: Rules, buffer_callback: Any) -> None:
        super().__init__(sink, protocol=5, buffer_callback=buffer_callback)
        self.rules = rules

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        if cls is float and obj != obj:
            stand_in = self.rules._nan(obj)
            if stand_in is obj:
                return (rebuild.anonymous_nan, (struct.pack("<d", obj),))
            return (rebuild.module_attribute, (stand_in.module, "nan"))
        if cls is set and obj:
            state = (list(obj), sys.getsizeof(obj))
            return (rebuild.empty_set, (), state, None, None, rebuild.fill_set)
        if cls is frozenset and obj:
            return (rebuild.ordered_frozenset, (list(obj),))
        if cls in walk.ATOMS or cls in walk.CONTAINERS:
            return NotImplemented
        return self.rules.reduce(obj)
