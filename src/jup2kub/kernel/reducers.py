"""How each kind of value is taken apart when it is saved. Every rule returns a reduce tuple, or None: not mine."""

from __future__ import annotations

import ast
import enum
import functools
import gc
import itertools
import marshal
import re
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
        self.certain = True
        """Whether all that was taken apart so far is surely made again as it was: then nothing need be compared."""
        self._kinds: dict[type, _Kind] = {}
        self._owners: dict[int, int] = {}
        self._singletons: dict[str, dict[int, str]] = {}
        self._keep: list[Any] = []
        self._loaded = {name: sys.modules.get(name) for name in ("numpy", "numpy.ma", "pandas")}

    def reduce(self, obj: Any) -> Any:
        """Return how to make `obj` again, or NotImplemented: as pickle does. Raises Unshippable."""
        cls = type(obj)
        kind = self._kinds.get(cls)
        if kind is None:
            kind = self._kinds[cls] = self._kind(cls)
        if kind is _Kind.VALUE:
            return NotImplemented
        self.current = obj
        numpy = self._loaded["numpy"]
        if numpy is not None and isinstance(obj, numpy.ndarray):
            return self._array(obj, cls, numpy) or self._unsure()
        found = self._definition(obj)
        if found is None and not isinstance(obj, type):
            rule = _RULES.get(cls)
            found = rule(self, obj) if rule is not None else self._other(obj, cls)
            if not self._is_whole(obj, kind):
                self.certain = False
        return NotImplemented if found is None else found

    def _unsure(self) -> Any:
        self.certain = False
        return NotImplemented

    def _kind(self, cls: Any) -> _Kind:
        if cls in _RULES:
            return _Kind.RULE if cls in _SURE else _Kind.OTHER
        if refusals.reason_for(cls) is not None or issubclass(cls, (type, BaseException)):
            return _Kind.OTHER
        if cls in walk.WHOLE or walk.is_value(cls):
            return _Kind.OTHER if self._has_singletons(cls) else _Kind.VALUE
        if walk.pickles_by_default(cls):
            return _Kind.OBJECT
        return _Kind.TABLE if walk.package_of(cls) in ("pandas", "pyarrow") else _Kind.OTHER

    def _is_whole(self, obj: Any, kind: _Kind) -> bool:
        """Whether this object has nothing that its pickling leaves behind."""
        if kind is _Kind.OBJECT:
            own = walk.attributes(obj)
            if own is not None and self._owners.setdefault(id(own), id(obj)) != id(obj):
                raise Unshippable(
                    "", f"two objects of type {walk.type_name(type(obj))} share their attributes"
                )
        elif kind is _Kind.TABLE:
            return all(name[:1] == "_" or name in _MANAGED for name in walk.attributes(obj) or ())
        return kind is not _Kind.OTHER or _is_named(obj)

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
        if self._loaded["pandas"] is not None and walk.package_of(cls) == "pandas":
            return self._pandas(obj)
        return None

    def _singleton(self, obj: Any, cls: type) -> str | None:
        """Return the name under which the module of its type holds this very object (sentinels, global generators)."""
        module = walk.module_of(cls)
        if module in ("builtins", "__main__"):
            return None
        names = self._singletons.get(module)
        if names is None:
            held = _held(module)
            names = self._singletons[module] = {id(v): k for k, v in held.items()}
        return names.get(id(obj))

    def _has_singletons(self, cls: type) -> bool:
        return walk.module_of(cls) != "builtins" and any(
            type(v) is cls for v in _held(walk.module_of(cls)).values()
        )

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
            self.certain = False
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
        if not obj.flags.owndata and not _owned_by_array(obj):
            self.certain = False  # bytes of another kind of object, which may be in the group as well
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
        items = [self.nan(item) if type(item) is float and item != item else item for item in flat.tolist()]
        order = "C" if obj.flags.c_contiguous else "F"
        state = (items, obj.flags.writeable)
        return (rebuild.object_array, (obj.shape, order), state, None, None, rebuild.fill_objects)

    def nan(self, value: float) -> Any:
        """Return a stand-in for a module's NaN, which keeps identity: pickle itself would make new ones."""
        for name in ("numpy", "math"):
            if vars(sys.modules.get(name, types)).get("nan") is value:
                return ModuleNan(name)
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
        shared = vars(obj).get("_references") if isinstance(obj, pandas.Index) else None
        if type(shared) is refs and shared.has_reference():
            found = obj.__reduce__()
            if not any(found[2:]):
                return (rebuild.index, (found[0], found[1], shared))
        return None

    def _function(self, obj: types.FunctionType) -> Reduced:
        if obj.__module__ != "__main__" and "<" not in obj.__qualname__:
            return None  # importable by name; if it is not, pickle says so
        self.certain = False
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

    def _proxy(self, obj: Any) -> Reduced:
        return (rebuild.proxy, (walk.behind(obj),))

    def _dict_view(self, obj: Any) -> Reduced:
        owner = next((o for o in gc.get_referents(obj) if type(o) is dict), None)
        return None if owner is None else (rebuild.dict_view, (owner, type(obj).__name__))

    def _cached_function(self, obj: Any) -> Reduced:
        if obj.__module__ == "__main__":
            raise Unshippable("", "a caching function that is not bound to a name by the cell that made it")
        return None

    def _module_nan(self, obj: ModuleNan) -> Reduced:
        return (rebuild.module_attribute, (obj.module, "nan"))

    def _ordered_set(self, obj: OrderedSet) -> Reduced:
        if type(obj.value) is frozenset:
            return (rebuild.ordered_frozenset, (list(obj.value),))
        state = (list(obj.value), sys.getsizeof(obj.value))
        return (rebuild.empty_set, (), state, None, None, rebuild.fill_set)

    def _globals(self, obj: Any) -> Reduced:
        return (notebook_globals, ())

    def _module_globals(self, obj: Any) -> Reduced:
        return (rebuild.module_globals, (obj.module,))


class _Kind(enum.Enum):
    """What is known of a type."""

    VALUE = enum.auto()
    """Pickle itself keeps all there is to it."""
    OBJECT = enum.auto()
    """Nothing but attributes, pickled as Python does by default."""
    RULE = enum.auto()
    """A rule below makes it again as it was."""
    TABLE = enum.auto()
    """Of a package whose pickling is whole, unless a user gave the object attributes."""
    OTHER = enum.auto()
    """To be compared after loading."""


_MANAGED = ("axes", "blocks")
"""Public attributes that tables of a library have of their own."""


def _held(module: str) -> dict[str, Any]:
    loaded = sys.modules.get(module)
    held = dict(vars(loaded)) if isinstance(loaded, types.ModuleType) else {}
    return {k: v for k, v in held.items() if not isinstance(v, (type, types.FunctionType))}


def _is_named(obj: Any) -> bool:
    """Whether the object is a function that its module holds under its name: it is pickled by that."""
    if "__qualname__" not in vars(type(obj)):
        return False
    module, name = obj.__module__, obj.__qualname__
    loaded = sys.modules.get(module) if isinstance(module, str) else None
    return loaded is not None and vars(loaded).get(name) is obj


def _owned_by_array(array: Any) -> bool:
    cls = sys.modules["numpy"].ndarray
    while type(array) is cls and not array.flags.owndata:
        array = array.base
    return type(array) is cls


class _Globals:
    """Stands for the namespace among the arguments of a function."""


class _ModuleGlobals:
    def __init__(self, module: str) -> None:
        self.module = module


class ModuleNan:
    """Stands for the one NaN object that a module holds as `nan`."""

    def __init__(self, module: str) -> None:
        self.module = module


class OrderedSet:
    """Stands for a set that pickle would not bring back in its order."""

    def __init__(self, value: Any) -> None:
        self.value = value


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
    types.MappingProxyType: Rules._proxy,
    memoryview: Rules._memoryview,
    type({}.keys()): Rules._dict_view,
    type({}.values()): Rules._dict_view,
    type({}.items()): Rules._dict_view,
    type(functools.lru_cache(maxsize=None)(lambda: None)): Rules._cached_function,
    ModuleNan: Rules._module_nan,
    OrderedSet: Rules._ordered_set,
    _Globals: Rules._globals,
    _ModuleGlobals: Rules._module_globals,
}
_SURE = frozenset(
    {types.FunctionType, types.CellType, types.ModuleType, ModuleNan, OrderedSet, _Globals, _ModuleGlobals}
)
"""Types whose rule needs no look at what comes back."""
