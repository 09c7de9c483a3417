"""Which values cannot be saved, and why, in words a scientist understands."""

from __future__ import annotations

import sys
import types
from typing import Any

from . import walk


class Unshippable(Exception):
    """A value that cannot travel to another kernel. `name`: of the notebook's variable; `reason`: one clause."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.name = name
        self.reason = reason


_BY_TYPE = {
    "generator": "a generator that is being run cannot be saved",
    "coroutine": "a coroutine cannot be saved",
    "async_generator": "a generator that is being run cannot be saved",
    "frame": "a running function's frame cannot be saved",
    "traceback": "a traceback cannot be saved",
    "memoryview": "a view of another object's memory cannot be saved",
    "mmap.mmap": "a memory-mapped file cannot be saved",
    "socket.socket": "a network connection cannot be saved",
    "_thread.lock": "a lock cannot be saved",
    "_thread.RLock": "a lock cannot be saved",
    "_thread._local": "data of one thread cannot be saved",
    "subprocess.Popen": "a running child process cannot be saved",
    "sqlite3.Connection": "an open database connection cannot be saved",
    "sqlite3.Cursor": "an open database cursor cannot be saved",
    "weakref": "a weak reference cannot be saved",
    "weakref.ReferenceType": "a weak reference cannot be saved",
    "_contextvars.ContextVar": "a context variable belongs to its process",
    "_contextvars.Context": "a context belongs to its process",
    "_contextvars.Token": "a context token belongs to its process",
    "select.epoll": "an open event poll cannot be saved",
    "numpy.memmap": "an array mapped to a file would lose the file",
    "h5py._hl.files.File": "an open HDF5 file cannot be saved",
}
_BY_MODULE = {
    "_io": "an open file cannot be saved",
    "threading": "a thread or a lock cannot be saved",
    "_asyncio": "a running asynchronous task cannot be saved",
    "asyncio": "an asynchronous loop, task or lock cannot be saved",
    "multiprocessing": "a pool, process or shared object of `multiprocessing` cannot be saved",
    "concurrent": "an executor or future cannot be saved",
    "itertools": "a half-consumed iterator cannot be saved",
    "ctypes": "C data may hold addresses and cannot be saved",
    "_ctypes": "C data may hold addresses and cannot be saved",
    "selectors": "an open event selector cannot be saved",
    "weakref": "weak references cannot be saved",
    "ipywidgets": "a widget belongs to its kernel",
}
_PICKLABLE = {"BytesIO", "StringIO"}


def reason_for(cls: type) -> str | None:
    """Return why values of this type never travel; None if nothing speaks against it."""
    for base in cls.__mro__:
        module, name = walk.module_of(base), base.__qualname__
        if name in _PICKLABLE and module == "_io":
            return None
        key = name if module == "builtins" else f"{module}.{name}"
        if key in _BY_TYPE:
            return _BY_TYPE[key]
        top = module.partition(".")[0]
        if top in _BY_MODULE and base.__qualname__ not in ("count", "partial"):
            # Exceptions and plain records of these packages are data; what holds the machine is not.
            if issubclass(base, BaseException) or issubclass(base, tuple):
                return None
            return _BY_MODULE[top]
    return None


def lossy(obj: Any) -> str | None:
    """Return why this very object would come back as less than it is; None if it would not."""
    if isinstance(obj, BaseException):
        if obj.__traceback__ is not None:
            return "an exception that was raised keeps its traceback, which cannot be saved"
        if obj.__cause__ is not None or obj.__context__ is not None:
            return "an exception with a cause would lose it"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(obj, torch.Tensor):
        if obj.requires_grad or obj.grad_fn is not None:
            return "a tensor with gradients would lose its graph"
        if obj.device.type != "cpu":
            return "a tensor on a device stays there"
    pyplot = sys.modules.get("matplotlib.pyplot")
    if (
        pyplot is not None
        and isinstance(obj, pyplot.Figure)
        and pyplot.fignum_exists(getattr(obj, "number", -1))
    ):
        return "a figure that is still open belongs to its kernel"
    return None


def words(error: BaseException, obj: Any) -> str:
    """Return a reason for a value whose pickling raised `error` at object `obj`."""
    if isinstance(error, Unshippable):
        return error.reason
    known = None if obj is None else reason_for(type(obj))
    if known is not None:
        return known
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be saved"
    if isinstance(obj, types.ModuleType):
        return f"module {obj.__name__!r} cannot be imported by that name"
    what = "" if obj is None else f" of type {walk.type_name(type(obj))}"
    return f"an object{what} cannot be saved ({type(error).__name__}: {error})"
