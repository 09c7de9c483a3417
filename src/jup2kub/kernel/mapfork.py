"""The child's side of a map: run the iterations it is given, and leave a record of each chunk."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from typing import Any

from .chunks import Iteration, Record
from .mapfolds import UNSET, Frame, Log, NotIndependent, Recorder, isinstance_recorder
from .mapguard import Guard
from .mapmodules import is_globals
from .mapstate import SHARED, World
from .rewrite import Spec

GUARDED = "changes a large array, which other iterations share"


class Child:
    """Runs inside a forked process; the generator that wraps the iterable calls it around every iteration."""

    def __init__(
        self, spec: Spec, frame: Frame, world: World, settings: Any, channel: Any, folder: str, store: Any
    ):
        self.spec, self.frame, self.world, self.settings = spec, frame, world, settings
        self.channel, self.folder, self.store = channel, folder, store
        self.log = Log()
        self.quiet = settings.witness.quiet
        self.guard = Guard(folder, asked=spec.asked, quiet=self.quiet)
        self.record = Record(0, 0)
        self._names = {c.name: Recorder(self.log, i, c) for i, c in enumerate(spec.carried)}
        self._started = 0.0

    def begin(self) -> None:
        """Make this process a worker: diverted output, no effects, gone when the parent goes."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.guard.install()
        self.begin_here(pages=True)

    def begin_here(self, pages: bool = False) -> None:
        """As `begin`, for a process that runs one chunk and nothing else. `pages`: it may die for a write."""
        self.settings.tap.begin()
        self.settings.check.reseed()
        self.world.protect(pages)
        self.ambient = self.settings.check.take()

    def next_chunk(self) -> tuple[int, int] | None:
        """Wait for the parent's next assignment; None = there is no more."""
        self.guard.active = False
        data = b""
        while not data.endswith(b"\n"):
            more = self.channel.recv(4096)
            if not more:
                return None
            data += more
        found = json.loads(data)
        if found is None:
            return None
        self.assign(*found)
        return found[0], found[1]

    def assign(self, start: int, stop: int) -> None:
        """Begin the record of the iterations `start` to `stop`."""
        self.record = Record(start, stop)
        self._started = time.perf_counter()

    def before(self, index: int) -> None:
        """Set the scene for one iteration: recorders for carried names, marks for names it may leave unassigned."""
        self.log.entries, self.log.spoiled = [], ""
        self.guard.start(index)
        fresh: dict[str, Any] = {n: UNSET for c in self.spec.carried for n in c.group}
        fresh.update(dict.fromkeys(self.spec.conditional, UNSET))
        fresh.update(self._names)
        self.frame.bind(fresh)
        if self.world.changed(self.world.owned.get(index, ())):
            raise NotIndependent("changes another iteration's element")
        self.guard.active = True

    def after(self, index: int, values: Any = None) -> None:
        """Take down what the iteration left; raises NotIndependent if it was not one of its own."""
        self.guard.active = False
        if self.log.spoiled or self.guard.reason:
            raise NotIndependent(self.log.spoiled or self.guard.reason)
        for name, recorder in self._names.items():
            now = self.frame.get(name)
            if now is not recorder and not (isinstance_recorder(now) or self._wins(name)):
                raise NotIndependent(f"binds `{name}` in a way that cannot be folded")
        numbers = self.world.changed(self.world.owned.get(index, ()))
        done = Iteration(entries=self._entries(), outputs=self.settings.tap.take(), values=values)
        done.changes = [(n, state_of(self.world.objects[n])) for n in numbers]
        done.files = tuple(self.guard.files)
        for name in self.spec.conditional:
            value = self.frame.get(name, UNSET)
            if value is not UNSET:
                done.conditional[name] = value
        self.world.settle(numbers)
        self.record.iterations.append(done)

    def _wins(self, name: str) -> bool:
        return any(c.name == name and c.kind == "best" for c in self.spec.carried)

    def _entries(self) -> list[tuple[Any, ...]]:
        found = []
        for entry in self.log.entries:
            if entry[1] == "best":
                names = self.spec.carried[entry[0]].group
                entry = (*entry, {n: self.frame.get(n, UNSET) for n in names})
            found.append(entry)
        return found

    def commit(self) -> None:
        """Check that shared and ambient state are as the loop found them, write the record, tell the parent."""
        self.guard.active = False
        if not self.record.reason:
            self.record.reason = self._disturbed()
        if self.record.reason and not self.record.reason.startswith("!"):
            self.record.iterations = []
        self.record.reason = self.record.reason.lstrip("!")
        self.record.seconds = time.perf_counter() - self._started
        self.record.seen = self.settings.witness.take()
        if self.settings.check.drawn():
            self.record.seen["drawn"] = True
        with self.quiet():
            self._write()
        if self.channel is not None:
            self.channel.sendall(json.dumps([self.record.start, self.record.stop]).encode() + b"\n")

    def _write(self) -> None:
        path = os.path.join(self.folder, f"{self.record.start}-{self.record.stop}")
        try:
            self.settings.codec.dump(self.record, self.world, path + ".part")
        except BaseException as error:
            why = f"a result cannot be taken out of a child process: {type(error).__name__}: {error}"
            self.record.iterations, self.record.reason = [], why
            self.settings.codec.dump(self.record, self.world, path + ".part")
        files = sorted({name for one in self.record.iterations for name in one.files})
        if files:
            with open(path + ".files", "w", encoding="utf-8") as names:
                json.dump(files, names)
        os.rename(path + ".part", path)
        if self.store is not None and len(self.record.iterations) == self.record.stop - self.record.start:
            self.store.keep(path, self.record)

    def _disturbed(self) -> str:
        changed = self.settings.check.changed(self.ambient)
        if changed:
            return f"changes {changed}"
        if self.world.memory.changed():
            return GUARDED
        carried = {n for c in self.spec.carried for n in (c.name, *c.group)}
        for number in self.world.changed():
            item, owner = self.world.objects[number], self.world.owner[number]
            names = [n for n in self.spec.reads if n not in carried and self.frame.get(n, UNSET) is item]
            what = f"`{names[0]}`" if names else f"an object of type `{type(item).__name__}`"
            if is_globals(item):
                what = f"a variable of the module `{item['__name__']}`"
            return "changes {}, which {}".format(
                what,
                "other iterations share" if owner == SHARED else "is not its own",
            )
        return ""

    def stopped(self, reason: str = "") -> None:
        """An iteration did not finish: commit those before it, and leave. Never returns."""
        self.guard.active = False
        why = reason or self.log.spoiled or self.guard.reason
        self.record.reason = self._disturbed() or ("!" + why if why else "")
        self.commit()
        sys.stdout.flush()
        os._exit(0)


def state_of(item: Any) -> Any:
    """Return the whole own state of a changed object, to be put back by `put_state`."""
    if isinstance(item, dict):
        base: Any = ("dict", [*dict.items(item)])
    elif isinstance(item, list):
        base = ("list", list(item))
    elif isinstance(item, set):
        base = ("set", list(item))
    elif hasattr(item, "appendleft") and hasattr(item, "maxlen"):
        base = ("list", list(item))
    elif isinstance(item, bytearray):
        base = ("bytes", bytes(item))
    elif hasattr(item, "__array_interface__"):
        base = ("array", item.copy())
    else:
        base = ("object", None)
    return base[0], base[1], _fields(item, base[0])


def _fields(item: Any, kind: str) -> Any:
    fields = getattr(item, "__dict__", None)
    if fields is not None:
        return dict(fields)
    if kind != "object":
        return None
    reduced = item.__reduce_ex__(5)
    if len(reduced) < 3 or reduced[2] is None:
        raise TypeError(f"the state of `{type(item).__name__}` cannot be put back")
    return ("state", reduced[2])


def put_state(item: Any, state: Any) -> None:
    """Give `item` the state that `state_of` took; raises what the object's own `__setstate__` raises."""
    kind, parts, fields = state
    if kind in ("dict", "set"):
        item.clear()
        for part in parts:
            if kind == "set":
                item.add(part)
            else:
                dict.__setitem__(item, *part)
    elif kind in ("list", "bytes"):
        item.clear()
        item.extend(parts)
    elif kind == "array":
        item[...] = parts
    if isinstance(fields, dict):
        own = object.__getattribute__(item, "__dict__")
        own.clear()
        own.update(fields)
    elif fields is not None:
        if hasattr(item, "__setstate__"):
            item.__setstate__(fields[1])
        else:
            for name, value in fields[1][1].items():
                object.__setattr__(item, name, value)
