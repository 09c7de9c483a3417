"""Values of the notebook to a file and back: one group of names that share objects, one file.

Kept: views, strides, flags, shared references, the order of dictionaries and sets, identity of sentinels and NaNs,
the version of every class and function of the notebook. What cannot be kept is refused: `Unshippable`.
"""

from __future__ import annotations

import contextlib
import gc
import pathlib
import pickle
import struct
import sys
from collections.abc import Iterator
from typing import Any

from . import blobfile, compare, memory, picklers, rebuild, reducers, refusals
from .definitions import Definitions
from .refusals import Unshippable

__all__ = ["Definitions", "Unshippable", "dump", "load"]

_STAND_INS = frozenset({"definition", "notebook_globals", "array"})


class _Marked(Exception):
    """The stream may hold what only the exact pickler keeps."""


class _Sink:
    """Takes what the fast pickler writes into the file, as long as there is nothing in it that it cannot keep."""

    def __init__(self, writer: blobfile.Writer) -> None:
        self._writer = writer

    def write(self, data: Any) -> int:
        """Take a piece of the stream, cut between instructions."""
        if picklers.may_matter(data):
            raise _Marked
        self._writer.write(data)
        return len(data)


def dump(
    values: dict[str, Any],
    definitions: Definitions,
    path: str,
    *,
    threads: bool = False,
    direct: bool = False,
) -> dict[str, Any]:
    """Write one group to `path` and return what was written.

    Returns {"bytes": size of the file, "sha256": of its content (hexadecimal), "cells": sorted indices of the cells
    whose definitions it refers to, "names": in order}. `threads`: a second thread may help, and ends before this
    returns. `direct`: past the system's cache, for nobody reads it soon. Raises Unshippable (name, reason), after which
    there is no file at `path`; OSError if the disk does.
    """
    try:
        try:
            return _write(values, definitions, path, picklers.FastPickler, threads, direct)
        except _Marked:
            return _write(values, definitions, path, picklers.ExactPickler, threads, direct)
    except compare.Inexact as difference:
        pathlib.Path(path).unlink()
        raise Unshippable(difference.name, difference.reason) from None
    except BaseException:
        pathlib.Path(path).unlink(missing_ok=True)
        raise


def _write(
    values: dict[str, Any],
    definitions: Definitions,
    path: str,
    make: type[picklers.FastPickler],
    threads: bool,
    direct: bool,
) -> dict[str, Any]:
    rules = reducers.Rules(definitions)
    buffers: list[pickle.PickleBuffer] = []
    writer = blobfile.Writer(path, threads=threads, direct=direct)
    try:
        streams = writer.position
        sink: Any = writer if make is picklers.ExactPickler else _Sink(writer)
        pickler = make(sink, rules, buffers.append)
        for name, value in values.items():
            _pickle(pickler, rules, name, value)
        end = writer.position - streams
        spans, places = rules.blocks.layout()
        blocks = [writer.block(low, memory.raw(low, high)) for low, high in spans]
        outside = [[*writer.block(0, buffer.raw()), buffer.raw().readonly] for buffer in buffers]
        cells = sorted(rules.cells)
        size, digest = writer.finish(
            {
                "python": list(sys.version_info[:2]),
                "names": list(values),
                "streams": [streams, end],
                "blocks": blocks,
                "arrays": places,
                "buffers": outside,
                "cells": cells,
            }
        )
    except BaseException:
        writer.abandon()
        raise
    if not rules.certain:
        _accept(values, definitions, path)
    return {"bytes": size, "sha256": digest, "cells": cells, "names": list(values)}


def _pickle(pickler: picklers.FastPickler, rules: reducers.Rules, name: str, value: Any) -> None:
    rules.current = None
    try:
        pickler.dump(value)
    except (_Marked, OSError):
        raise
    except Exception as error:
        raise Unshippable(name, refusals.words(error, rules.current)) from error


def _accept(values: dict[str, Any], definitions: Definitions, path: str) -> None:
    """Load the file back and compare structure: a value that comes back as less than it was is refused."""
    names = list(values)
    try:
        loader = _Loader(path, definitions)
    except Exception as error:
        raise Unshippable(names[0], f"it cannot be read back ({error})") from error
    walker = compare.Lockstep()
    for name in names:
        try:
            back = loader.load()
        except Exception as error:
            raise Unshippable(name, f"it cannot be read back ({type(error).__name__}: {error})") from error
        try:
            walker.compare(name, values[name], back)
        except compare.Inexact:
            raise
        except Exception as error:
            raise Unshippable(name, f"it cannot be compared ({type(error).__name__}: {error})") from error
    walker.finish(names[-1] if names else "")


class _Loader(pickle.Unpickler):
    """Reads the streams of one file in turn; names of `rebuild` and the stand-ins are resolved here."""

    def __init__(self, path: str, definitions: Definitions) -> None:
        self._reader = blobfile.Reader(path)
        self._definitions = definitions
        self._nans: dict[int, tuple[float, bytes]] = {}
        directory = self._reader.directory
        if directory["python"] != list(sys.version_info[:2]):
            version = ".".join(map(str, directory["python"]))
            raise LookupError(f"{path}: saved by Python {version}, which this is not")
        self.names: list[str] = directory["names"]
        self._blocks = [self._reader.part(place) for place in directory["blocks"]]
        self._places = directory["arrays"]
        buffers = [self._buffer(place) for place in directory["buffers"]]
        super().__init__(blobfile.Stream(self._reader.part(directory["streams"])), buffers=buffers)

    def _buffer(self, place: list[int]) -> memoryview:
        part = self._reader.part(place)
        return part.toreadonly() if place[2] else part

    def find_class(self, module: str, name: str) -> Any:
        if module == reducers.__name__ or module.endswith("kernel.reducers"):
            if name in _STAND_INS:
                return getattr(self, "_" + name)
        elif module == rebuild.__name__ or module.endswith("kernel.rebuild"):
            return vars(rebuild)[name]
        elif module == "__main__":
            raise LookupError(f"{name} of the notebook is not bound to a name by the cell that made it")
        return super().find_class(module, name)

    def persistent_load(self, made: Any) -> Any:
        """Return what was made in place of a set, or the NaN that bits stand for: the same one every time."""
        if type(made) is not bytes:
            return made
        if id(made) not in self._nans:
            self._nans[id(made)] = (struct.unpack("<d", made)[0], made)
        return self._nans[id(made)][0]

    def _definition(self, name: str, cell: int) -> Any:
        return self._definitions.resolve(name, cell)

    def _notebook_globals(self) -> Any:
        return self._definitions.namespace or vars(sys.modules["__main__"])

    def _array(self, number: int, dtype: Any, shape: Any, strides: Any, writeable: bool) -> Any:
        block, offset, own = self._places[number]
        return memory.view(self._blocks[block], offset, dtype, shape, strides, own, writeable)


def load(path: str, definitions: Definitions) -> dict[str, Any]:
    """Return the values of a file by name, in the order they were given.

    Large arrays are private copy-on-write views of the file, writable; nothing is read before it is used.
    Raises LookupError if a definition is missing here or the Python version differs, ValueError for a torn file.
    """
    loader = _Loader(path, definitions)
    with _no_collection():
        return {name: loader.load() for name in loader.names}


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let no garbage be looked for while nothing but what is kept is made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
