"""What a saved stream calls to make values again. The names of these functions are part of the file format."""

from __future__ import annotations

import importlib
import itertools
import marshal
import sys
import types
from typing import Any

from . import setorder


def empty_array(dtype: Any, shape: Any, order: str, writeable: bool) -> Any:
    array = sys.modules["numpy"].empty(shape, dtype, order)
    array.flags.writeable = writeable
    return array


def object_array(shape: Any, order: str) -> Any:
    """An owner of object memory; `fill_objects` gives it its items."""
    return sys.modules["numpy"].empty(shape, object, order)


def fill_objects(array: Any, state: tuple[list[Any], bool]) -> None:
    items, writeable = state
    flat = array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
    for i, item in enumerate(items):
        flat[i] = item
    array.flags.writeable = writeable


def object_view(root: Any, index: int, shape: Any, strides: Any, writeable: bool) -> Any:
    """A view of an object array whose first element is item `index` of the memory of `root`."""
    numpy = sys.modules["numpy"]
    flat = root.reshape(-1) if root.flags.c_contiguous else root.T.reshape(-1)
    return numpy.lib.stride_tricks.as_strided(flat[index:], shape, strides, writeable=writeable)


def array_subclass(cls: Any, plain: Any) -> Any:
    return plain.view(cls)


def set_attributes(obj: Any, state: dict[str, Any]) -> None:
    obj.__dict__.clear()
    obj.__dict__.update(state)


def function(
    code: bytes, module: str, name: str, qualname: str, closure: Any, namespace: dict[str, Any]
) -> Any:
    made = types.FunctionType(marshal.loads(code), namespace, name, None, closure)
    made.__qualname__ = qualname
    made.__module__ = module
    return made


def finish_function(made: Any, state: dict[str, Any]) -> None:
    made.__defaults__ = state["defaults"]
    made.__kwdefaults__ = state["kwdefaults"]
    made.__doc__ = state["doc"]
    if state["annotations"]:
        made.__annotations__ = state["annotations"]
    made.__dict__.update(state["attributes"])


def module_globals(name: str) -> dict[str, Any]:
    return vars(importlib.import_module(name))


def module(name: str) -> Any:
    return importlib.import_module(name)


def module_attribute(name: str, attribute: str) -> Any:
    return vars(importlib.import_module(name))[attribute]


def closure_cell() -> Any:
    return types.CellType()


def fill_cell(cell: Any, state: tuple[Any]) -> None:
    cell.cell_contents = state[0]


def counter(start: Any, step: Any) -> Any:
    return itertools.count(start, step)


def whole_memoryview(owner: Any, readonly: bool) -> memoryview:
    made = memoryview(owner)
    return made.toreadonly() if readonly else made


def dict_view(mapping: dict[Any, Any], kind: str) -> Any:
    return {"dict_keys": mapping.keys, "dict_values": mapping.values, "dict_items": mapping.items}[kind]()


def references() -> Any:
    """A fresh record of which pandas objects share one block (copy-on-write)."""
    return sys.modules["pandas"]._libs.internals.BlockValuesRefs()


def block(make: Any, arguments: Any, refs: Any) -> Any:
    made = make(*arguments)
    made.refs = refs
    refs.add_reference(made)
    return made


def index(make: Any, arguments: Any, refs: Any) -> Any:
    made = make(*arguments)
    made._references = refs
    refs.add_index_reference(made)
    return made


def proxy(mapping: Any) -> Any:
    return types.MappingProxyType(mapping)


def empty_set() -> Any:
    return set()


def fill_set(target: set[Any], state: tuple[list[Any], int]) -> None:
    """Fill an empty set with items, in the order of iteration and size in bytes that it had. Raises LookupError."""
    if not setorder.fill(target, *state):
        raise LookupError("the order of a set cannot be made again here")


def ordered_frozenset(items: list[Any]) -> Any:
    """A frozen set that iterates over `items` in their order. Raises LookupError."""
    made = setorder.frozen(items)
    if made is None:
        raise LookupError("the order of a set cannot be made again here")
    return made
