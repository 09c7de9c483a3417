"""The parent's side of a map: hand out chunks, put results together in iteration order, run alone what is left."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

from .chunks import ChunkStore, Iteration, Record
from .mapfolds import UNSET, Frame, NotIndependent, fold
from .mapfork import Child, put_state
from .mapguard import take_back
from .mapitems import Items
from .mapstate import SHARED, TooBig, World
from .rewrite import Spec

NEVER = 1 << 62
Range = tuple[int, int]


class Work(NamedTuple):
    """What the engine is to do."""

    spec: Spec
    frame: Frame
    """Holds the loop."""
    items: Items
    done: int
    """Iterations that ran already."""
    pace: float
    """Seconds of an iteration, as timed."""
    one: Callable[[Any], Any] | None
    """Of a comprehension: gives the collection of a few items alone; None for a `for` statement."""
    place: int
    """Which execution of a loop this is in the cell, from 0."""


class Parallel:
    """One loop, from the first iteration that children may run to its end."""

    def __init__(self, work: Work, settings: Any, namespace: dict[str, Any], report: dict[str, Any]) -> None:
        self.work, self.settings, self.namespace, self.report = work, settings, namespace, report
        self.values: list[Any] = []
        self.items = work.items.listed(work.done)
        self.total = work.done + len(self.items)
        # the last iteration runs in place, so that the loop's names hold what it left
        self.end = self.total if work.one is not None else self.total - 1
        patience = max(10.0 if work.spec.asked else 0.5, 0.1 * work.pace * len(self.items))
        self.world = World(namespace, time.perf_counter() + patience)
        self.queue: list[Range] = []
        self.settled: dict[int, Iteration | None] = {}
        self.sequential = NEVER
        """First iteration from which everything runs in place, in order."""
        self.raised = False
        self.position = work.done
        self.written: set[str] = set()
        self.channels: dict[int, socket.socket] = {}
        self.assigned: dict[int, Range] = {}
        self.selector = selectors.DefaultSelector()
        parent = settings.chunk_folder if settings.chunk_folder and settings.chunk_key else None
        if parent:
            os.makedirs(parent, mode=0o700, exist_ok=True)
        self.folder = tempfile.mkdtemp(prefix=".map-", dir=parent)
        key = f"{settings.chunk_key}-{work.place}"
        self.store = ChunkStore(parent, key) if parent else None
        self.owner = os.getpid()

    # the loop -----------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Any]:
        """Yield the items that must run in place, in order; everything between them is put together here."""
        reason = self._look()
        if reason:
            self._retreat(self.work.done, reason)
        elif self.settings.only is not None:
            yield from self._only(*self.settings.only)
            return
        else:
            self._adopt()
            child = self._start()
            if child is not None:
                yield from self._serve(child)
        while self.position < self.total:
            index = self.position
            # an iteration is put together only if the next one is there too: what runs in place after it
            # must find every name as this one left it
            merged = (
                (self.work.one is not None or self._have(index + 1))
                and self._have(index)
                and self._merge(index)
            )
            if not merged:
                self._prepare(index)
                yield self.items[index - self.work.done]
            self.position += 1
            self.work.items.advance()
            self.report["iterations"] = self.position

    def _prepare(self, index: int) -> None:
        """Make the world ready for an iteration in place: files as no child had touched them."""
        if index >= self.sequential:
            if self.channels:
                self._kill()
                take_back(self.folder, range(index, self.total))
        else:
            take_back(self.folder, (index,))

    def _retreat(self, index: int, reason: str) -> None:
        if index < self.sequential:
            self.sequential = index
            self.report["reason"] = reason

    # before the fork ----------------------------------------------------------------------------------------

    def _look(self) -> str:
        """List what the loop may touch; return why its iterations are not independent after all, or nothing."""
        spec, frame = self.work.spec, self.work.frame
        carried = {n for c in spec.carried for n in (c.name, *c.group)}
        try:
            for name in spec.reads:
                if name not in carried:
                    value = frame.get(name, UNSET)
                    if hasattr(type(value), "__next__"):
                        return f"reads the iterator `{name}`, which every iteration moves on"
                    self.world.add(value, SHARED)
            for offset, item in enumerate(self.items):
                self.world.add(item, self.work.done + offset)
            seen: dict[int, str] = {}
            for carry in spec.carried:
                value = frame.get(carry.name, UNSET)
                if value is UNSET:
                    return f"`{carry.name}` is not defined"
                if type(value) in (int, float, complex, str, bytes, bool, type(None), tuple):
                    continue
                if id(value) in self.world.number or id(value) in seen:
                    return f"`{carry.name}` is also reached by another name that the loop reads"
                seen[id(value)] = carry.name
            self.world.freeze()
        except TooBig:
            return "the loop's inputs are too many objects to watch"
        return ""

    def _adopt(self) -> None:
        """Take over the chunks that an earlier run finished; queue the others."""
        position = self.work.done
        for start, stop in self.store.finished() if self.store else ():
            if start < position or stop > self.end or self.store is None:
                continue
            record = self.store.load(start, stop, self.world, self.settings.codec)
            if record is not None:
                self._cut(position, start)
                self._settle(record)
                self.report["adopted"] += 1
                position = stop
        self._cut(position, self.end)

    def _cut(self, start: int, stop: int) -> None:
        left, spec = len(self.items), self.work.spec
        seconds = min(self.settings.chunk_seconds, self.work.pace * left / (4 * self.settings.workers))
        size = max(1, int(seconds / self.work.pace)) if self.work.pace > 0 else left
        if spec.chunks:
            size = max(1, -(-left // spec.chunks))
        self.queue.extend((i, min(i + size, stop)) for i in range(start, stop, size))

    # children -----------------------------------------------------------------------------------------------

    def _start(self) -> Child | None:
        """Fork the children; returns the child's side in each of them, and None in the parent."""
        limit = self.work.spec.limit or self.settings.workers
        self.settings.tap.before_fork()
        gc.freeze()
        # an interrupt inside a callback of fork() would be swallowed: it waits until the children are there
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(min(self.settings.workers, limit, len(self.queue))):
                ours, theirs = socket.socketpair()
                try:
                    pid = self.settings.fork()
                except OSError as error:
                    ours.close()
                    theirs.close()
                    self.report["reason"] = f"no process could be started: {error}"
                    break
                if pid == 0:
                    for other in (ours, *self.channels.values()):
                        other.close()
                    self.channels = {}
                    return self._child(theirs)
                theirs.close()
                self.channels[pid] = ours
                self.selector.register(ours, selectors.EVENT_READ, pid)
                self._assign(pid)
        finally:
            gc.unfreeze()
            if os.getpid() == self.owner:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return None

    def _child(self, channel: socket.socket | None) -> Child:
        return Child(
            self.work.spec, self.work.frame, self.world, self.settings, channel, self.folder, self.store
        )

    def _serve(self, child: Child) -> Iterator[Any]:
        """In a child: run the chunks that the parent names. Never returns."""
        try:
            child.begin()
            while True:
                chunk = child.next_chunk()
                if chunk is None:
                    os._exit(0)
                yield from self._iterations(child, *chunk)
                child.commit()
        except NotIndependent as error:
            child.stopped(str(error))
        except GeneratorExit:  # the body raised: its frame lets the iterator go
            child.stopped()
        except Exception:
            if self.work.one is not None:
                child.stopped()
        finally:
            os._exit(70)

    def _iterations(self, child: Child, start: int, stop: int) -> Iterator[Any]:
        for index in range(start, stop):
            item, values = self.items[index - self.work.done], None
            child.before(index)
            if self.work.one is None:
                yield item
            else:
                values = self.work.one((item,))
            child.after(index, values)

    def _only(self, start: int, stop: int) -> Iterator[Any]:
        """Run these iterations in this very process and keep their record."""
        if self.store is None:
            raise ValueError("a chunk folder and a key are needed to run a part of a loop")
        child = self._child(None)
        child.begin_here()
        child.assign(start, min(stop, self.total))
        yield from self._iterations(child, start, min(stop, self.total))
        child.commit()

    def _assign(self, pid: int) -> None:
        if not self.queue or self.raised or self.sequential != NEVER:
            return
        chunk = self.queue.pop(0)
        self.assigned[pid] = chunk
        with contextlib.suppress(OSError):  # a dead child is noticed at its channel's end
            self.channels[pid].sendall(json.dumps(chunk).encode() + b"\n")

    # results ------------------------------------------------------------------------------------------------

    def _have(self, index: int) -> bool:
        """Wait until it is known whether a child has done iteration `index`."""
        while index not in self.settled and index < min(self.end, self.sequential):
            if not self.assigned:
                return False
            self._pump()
        return index < self.sequential and self.settled.get(index) is not None

    def _pump(self) -> None:
        for key, _ in self.selector.select():
            pid = key.data
            try:
                data = self.channels[pid].recv(4096)
            except OSError:
                data = b""
            if not data:
                self._dead(pid)
                continue
            start, stop = self.assigned.pop(pid)
            path = os.path.join(self.folder, f"{start}-{stop}")
            try:
                self._settle(self.settings.codec.load(path, self.world))
                self.report["chunks"] += 1
            except Exception:
                self.settled.update(dict.fromkeys(range(start, stop)))
            with contextlib.suppress(OSError):
                os.unlink(path)
            self._assign(pid)

    def _settle(self, record: Record) -> None:
        for offset, index in enumerate(range(record.start, record.stop)):
            finished = offset < len(record.iterations)
            self.settled[index] = record.iterations[offset] if finished else None
        if record.reason:
            self._retreat(record.start + len(record.iterations), record.reason)
        elif len(record.iterations) < record.stop - record.start:
            self.raised = True

    def _dead(self, pid: int) -> None:
        channel = self.channels.pop(pid)
        self.selector.unregister(channel)
        channel.close()
        os.waitpid(pid, 0)
        chunk = self.assigned.pop(pid, None)
        if chunk is not None:
            self.settled.update(dict.fromkeys(range(*chunk)))
            if not self.raised:
                self.report["reason"] = "a child process died; its iterations ran again"

    def _merge(self, index: int) -> bool:
        """Put one iteration's results in their place; False = they cannot be, and nothing has changed."""
        done = self.settled.pop(index)
        if done is None:
            return False
        if not self.written.isdisjoint(done.files):
            self._retreat(index, "two iterations write the same file")
            return False
        try:
            fold(self.work.frame, self.work.spec.carried, done.entries, done.conditional)
        except Exception:
            return False  # in place it raises where it should
        self.written.update(done.files)
        for number, state in done.changes:
            put_state(self.world.objects[number], state)
        self.settings.tap.replay(done.outputs)
        if self.work.one is not None:
            self.values.append(done.values)
        self.report["mapped"] += 1
        return True

    # the end ------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        for pid, channel in self.channels.items():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.selector.unregister(channel)
            channel.close()
            os.waitpid(pid, 0)
        self.channels, self.assigned = {}, {}

    def close(self) -> None:
        """End the children; files that iterations after the last one wrote are taken back."""
        if os.getpid() != self.owner:
            return
        self._kill()
        self.selector.close()
        take_back(self.folder, range(self.position + 1, self.total))
        shutil.rmtree(self.folder, ignore_errors=True)
