"""Records of finished chunks: how they are written, kept and read back."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import pickle
from dataclasses import dataclass, field
from typing import Any

from .mapfolds import UNSET
from .mapstate import ATOMS, World, is_array


@dataclass
class Iteration:
    """What one finished iteration left."""

    entries: list[tuple[Any, ...]] = field(default_factory=list)
    """Operations on carried names, in order."""
    outputs: list[Any] = field(default_factory=list)
    """As the output tap gave them."""
    changes: list[tuple[int, Any]] = field(default_factory=list)
    """Objects of the iteration's own element that it changed: number in the world, new state."""
    conditional: dict[str, Any] = field(default_factory=dict)
    """Private names it assigned, of those that an iteration may leave unassigned."""
    values: Any = None
    """Of a comprehension: the collection that this item alone gives."""
    files: tuple[str, ...] = ()
    """Files it opened for writing, absolute."""


@dataclass
class Record:
    """What a child made of iterations `start` to `stop`."""

    start: int
    stop: int
    iterations: list[Iteration] = field(default_factory=list)
    """The finished ones, from `start` on."""
    reason: str = ""
    """Why nothing from the first unfinished iteration on can be trusted to a child; empty = the body raised, or none."""
    seconds: float = 0.0
    seen: dict[str, Any] = field(default_factory=dict)
    """What the child was seen to depend on, as `maptap.Witness` gave it."""


class Unpicklable(Exception):
    """A result that cannot come back from a child as it is."""


class Codec:
    """Writes and reads one record: pickle protocol 5, objects of the loop's inputs by number.

    A codec of another make needs the same two methods; `dump` raises any Exception for what cannot travel.
    """

    def dump(self, record: Record, world: World, path: str) -> None:
        """Write `record` to the file `path`."""
        with open(path, "wb") as target:
            _Pickler(target, world).dump(record)

    def load(self, path: str, world: World) -> Record:
        """Read the record at `path`; raises OSError, EOFError or pickle.UnpicklingError if it is torn."""
        with open(path, "rb") as source:
            found = _Unpickler(io.BytesIO(source.read()), world).load()
        if not isinstance(found, Record):
            raise pickle.UnpicklingError("not a chunk record")
        return found


class _Pickler(pickle.Pickler):
    """Keeps identity with the loop's inputs, views of arrays and the order of sets."""

    def __init__(self, target: Any, world: World) -> None:
        super().__init__(target, 5)
        self.world = world

    def persistent_id(self, value: Any) -> Any:
        if value is UNSET:
            return "unset"
        return None if isinstance(value, ATOMS) else self.world.number.get(id(value))

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, (set, frozenset)) and list(type(value)(list(value))) != list(value):
            raise Unpicklable("a set whose order would change")
        if is_array(value) and type(value).__name__ == "ndarray" and is_array(value.base):
            root = value.base
            while is_array(root.base):
                root = root.base
            if type(root).__name__ == "ndarray" and not root.dtype.hasobject and root.flags.forc:
                offset = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
                return _view, (root, value.shape, value.dtype, offset, value.strides, value.flags.writeable)
        return NotImplemented


def _view(root: Any, shape: Any, dtype: Any, offset: int, strides: Any, writeable: bool) -> Any:
    """Make a view of `root` again; `type(root)` is numpy's array, so that numpy need not be imported here."""
    whole = root.reshape(-1, order="A")
    made = type(root)(shape, dtype, whole, offset, strides)
    if not writeable and made.flags.writeable:
        made.flags.writeable = False
    return made


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: Any, world: World) -> None:
        super().__init__(source)
        self.world = world

    def persistent_load(self, number: Any) -> Any:
        return UNSET if number == "unset" else self.world.objects[number]


class ChunkStore:
    """Finished chunks of one loop in a folder, kept for a later run of the same cell.

    The caller vouches that `key` tells the loop's inputs apart. A record is made exclusively, by link(): the first
    writer wins, a crash leaves nothing half-written under its name. Its seal is a file beside it.
    """

    def __init__(self, folder: str, key: str, secret: str) -> None:
        self.folder, self.key, self._secret = folder, key, secret.encode()

    def path(self, start: int, stop: int) -> str:
        """Return where the record of iterations `start` to `stop` lies once it is there."""
        return os.path.join(self.folder, f"{self.key}.{start}-{stop}.chunk")

    def finished(self) -> list[tuple[int, int]]:
        """Return the ranges whose records are there, in order, none overlapping an earlier one."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if name.startswith(self.key + ".") and name.endswith(".chunk"):
                    start, _, stop = name[len(self.key) + 1 : -len(".chunk")].partition("-")
                    if start.isdigit() and stop.isdigit():
                        found.append((int(start), int(stop)))
        chosen: list[tuple[int, int]] = []
        for one in sorted(found):
            if not chosen or one[0] >= chosen[-1][1]:
                chosen.append(one)
        return chosen

    def keep(self, path: str, record: Record) -> bool:
        """Keep the complete file `path` of the same file system; False = another writer was first."""
        target = self.path(record.start, record.stop)
        with open(path + ".seal", "w") as seal:
            seal.write(self._seal(path, os.path.basename(target)))
        os.replace(path + ".seal", target[: -len("chunk")] + "seal")
        _sync(path)
        try:
            os.link(path, target)
        except FileExistsError:
            return False
        return True

    def load(self, start: int, stop: int, world: World, codec: Any) -> Record | None:
        """Return the record, or None if it is absent, torn, or was not made by a kernel of this store."""
        path = self.path(start, stop)
        try:
            with open(path[: -len("chunk")] + "seal") as seal:
                if not hmac.compare_digest(seal.read(), self._seal(path, os.path.basename(path))):
                    return None
            record: Record = codec.load(path, world)
        except Exception:
            return None
        return record if len(record.iterations) == stop - start and not record.reason else None

    def _seal(self, path: str, name: str) -> str:
        made = hmac.new(self._secret, name.encode() + b":", hashlib.sha256)
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                made.update(block)
        return made.hexdigest()


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
