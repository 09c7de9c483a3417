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
from typing import Any

from .chunks import ChunkStore, Iteration, Record
from .held import Held, undisturbed
from .mapaway import AWAY, Gathering, go_on_here, place_files, send
from .mapfolds import NotIndependent, fold
from .mapfork import GUARDED, Child, put_state
from .mapguard import take_back
from .maplook import listed
from .mapstate import TooBig, World
from .mapwatch import LOOK_SECONDS, STANDS, Watch
from .mapwork import Range, Work, cut

NEVER = 1 << 62
FAULTS = (signal.SIGSEGV, signal.SIGBUS)
"""Signals that end a process which writes to guarded memory."""
ASK_SECONDS = 0.5
"""Time between two requests for more cores."""


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
        self.away: Gathering | None = None
        """Chunks that other agents run; None = there are none, or no more."""
        self.brought: dict[str, Any] = {}
        """Files that iterations elsewhere wrote, by path, as their agents keep them."""
        self.channels: dict[int, socket.socket] = {}
        self.idle: list[int] = []
        self.assigned: dict[int, Range] = {}
        self.watch = Watch(work.pace)
        self.cores = work.cores
        self.asked = time.perf_counter()
        self.selector = selectors.DefaultSelector()
        parent = settings.chunk_folder if settings.chunk_folder and settings.chunk_key else None
        self.quiet = settings.witness.quiet
        with self.quiet():
            if parent:
                os.makedirs(parent, mode=0o700, exist_ok=True)
            self.folder = tempfile.mkdtemp(prefix=".map-", dir=parent)
        self.store: ChunkStore | None = None
        self.owner = os.getpid()
        report["work"] = work.spent

    # the loop -----------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Any]:
        """Yield the items that must run in place, in order; everything between them is put together here."""
        reason = listed(self.work, self.items, self.world)
        if not reason:
            self._open_store()
        if reason:
            self.retreat(self.work.done, reason)
        elif not self.work.agents:
            self._adopt()
            yield from self.side_by_side()
        else:
            self.away = send(self, self.work.start)
            if self.away is None:
                yield from go_on_here(self, [(self.work.done, self.end)])
        while self.position < self.total:
            if self.away is not None and self.away.called_off:
                left, self.away = self.away.left(self.position), None
                yield from go_on_here(self, left)
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
                began = time.perf_counter()
                yield self.items[index - self.work.done]
                self.report["work"] += time.perf_counter() - began
                if self.raised and not self.report["reason"]:
                    self.report["reason"] = "an iteration raised in another process, and here it does not"
            self.position += 1
            self.work.items.advance()
            self.report["iterations"] = self.position

    def side_by_side(self) -> Iterator[Any]:
        """Fork children for what is queued; yields in a child only."""
        child = self._start()
        if child is not None:
            yield from self._serve(child)

    def _prepare(self, index: int) -> None:
        """Make the world ready for an iteration in place: files as no child had touched them."""
        with self.quiet():
            if index < self.sequential:
                take_back(self.folder, (index,))
            elif self.channels:
                self._kill()
                take_back(self.folder, range(index, self.total))

    def retreat(self, index: int, reason: str) -> None:
        """From iteration `index` on everything runs in place, in order."""
        if index < self.sequential:
            self.sequential = index
            self.report["reason"] = reason
            if self.away is not None:
                self.away.end()

    # before the fork ----------------------------------------------------------------------------------------

    def _open_store(self) -> None:
        """Keep finished chunks, if the objects that the loop may touch can be told from others."""
        settings, spec = self.settings, self.work.spec
        if self.work.agents or not settings.chunk_folder or not settings.chunk_key:
            return
        world = self.key()
        if world:
            key = f"{settings.chunk_key}-{spec.line}.{spec.column}.{self.work.number}-{world}"
            self.store = ChunkStore(settings.chunk_folder, key, settings.chunk_secret)

    def key(self) -> str:
        """Return a digest of all that the loop may touch, the same in another process; empty = it has none."""
        try:
            return self.world.digest() or ""
        except TooBig:
            return ""

    def _adopt(self) -> None:
        """Take over the chunks that an earlier run finished; queue the others."""
        position = self.work.done
        with self.quiet():
            for start, stop in self.store.finished() if self.store else ():
                if start < position or stop > self.end or self.store is None:
                    continue
                record = self.store.load(start, stop, self.world, self.settings.codec)
                if record is not None and self.settings.witness.stands(record.seen):
                    self.queue += cut(self.work, self.end, self.settings, position, start)
                    self.settle(record)
                    self.report["adopted"] += 1
                    position = stop
        self.queue += cut(self.work, self.end, self.settings, position, self.end)

    # children -----------------------------------------------------------------------------------------------

    def _start(self) -> Child | None:
        """Fork the children; returns the child's side in each of them, and None in the parent."""
        limit = self.work.spec.limit or self.settings.workers
        if not self.queue:
            return None
        with self.quiet():
            safe = self.settings.may_fork()  # iterations that ran in place may have started threads
        if not safe:
            self._stay()
            return None
        self.settings.tap.before_fork()
        gc.freeze()
        # an interrupt inside a callback of fork() would be swallowed: it waits until the children are there
        held = Held()
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
                self.idle.append(pid)
                self.selector.register(ours, selectors.EVENT_READ, pid)
                self._assign()
        finally:
            gc.unfreeze()
            if os.getpid() == self.owner:
                held.release()
        return None

    def _stay(self) -> None:
        self.report["reason"] = "since its first iterations this process cannot be forked safely"

    def _child(self, channel: socket.socket | None) -> Child:
        return Child(
            self.work.spec, self.work.frame, self.world, self.settings, channel, self.folder, self.store
        )

    def _serve(self, child: Child) -> Iterator[Any]:
        """In a child: run the chunks that the parent names. Never returns."""
        try:
            with self.quiet():
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

    def _assign(self) -> None:
        """Give chunks to idle children, as many as there are cores for."""
        while self.idle and self.queue and not self.raised and self.sequential == NEVER:
            if len(self.assigned) >= self.cores:
                break
            pid, chunk = self.idle.pop(0), self.queue.pop(0)
            self.assigned[pid] = chunk
            with contextlib.suppress(OSError):  # a dead child is noticed at its channel's end
                self.channels[pid].sendall(json.dumps(chunk).encode() + b"\n")

    def _trade(self) -> None:
        """Take cores that have become free since, and give back those that nothing is left for."""
        wanted = len(self.assigned) + min(len(self.queue), len(self.idle))
        if self.raised or self.sequential != NEVER:
            wanted = len(self.assigned)
        now = time.perf_counter()
        if wanted < self.cores or (wanted > self.cores and now - self.asked >= ASK_SECONDS):
            self.asked, self.cores = now, self.settings.cores(max(1, wanted))
            self._assign()

    # results ------------------------------------------------------------------------------------------------

    def _have(self, index: int) -> bool:
        """Wait until it is known whether a child has done iteration `index`."""
        while index not in self.settled and index < min(self.end, self.sequential):
            if not self.assigned and (self.away is None or not self.away.open):
                return False
            self._pump()
        return index < self.sequential and self.settled.get(index) is not None

    def _pump(self) -> None:
        if self.away is not None and self.away.talk.waiting:
            self.away.hear()
            return
        for key, _ in self.selector.select(LOOK_SECONDS):
            if key.data != AWAY:
                self._from(key.data)
            elif self.away is not None:
                self.away.hear()
        with self.quiet():
            for start, _ in self.watch.end_still(self.assigned):
                self.retreat(start, STANDS)
        self._trade()

    def _from(self, pid: int) -> None:
        """Take what a child has said: it has ended a chunk, or itself."""
        try:
            data = self.channels[pid].recv(4096)
        except OSError:
            data = b""
        if not data:
            self._dead(pid)
            return
        start, stop = self.assigned.pop(pid)
        self.idle.append(pid)
        self._assign()
        with self.quiet():
            self._read(start, stop)

    def _read(self, start: int, stop: int) -> None:
        path = os.path.join(self.folder, f"{start}-{stop}")
        try:
            self.settle(self.settings.codec.load(path, self.world))
            self.report["chunks"] += 1
        except Exception:
            self.settled.update(dict.fromkeys(range(start, stop)))
        with contextlib.suppress(OSError):
            os.unlink(path)

    def settle(self, record: Record) -> None:
        """Take a record; where it ends early, its next iteration must run in place."""
        self.report["work"] += record.seconds
        self.settings.witness.tell(record.seen)
        for offset, index in enumerate(range(record.start, record.stop)):
            finished = offset < len(record.iterations)
            self.settled[index] = record.iterations[offset] if finished else None
        if record.reason:
            self.retreat(record.start + len(record.iterations), record.reason)
        elif len(record.iterations) < record.stop - record.start:
            self.raised = True

    def _dead(self, pid: int) -> None:
        with undisturbed():
            channel = self.channels.pop(pid)
            self.selector.unregister(channel)
            channel.close()
            _, status = os.waitpid(pid, 0)
        if pid in self.idle:
            self.idle.remove(pid)
        chunk = self.assigned.pop(pid, None)
        self._assign()
        if chunk is not None:
            self._lost(chunk, status)

    def _lost(self, chunk: Range, status: int) -> None:
        """A child has died in the middle of a chunk."""
        self.settled.update(dict.fromkeys(range(*chunk)))
        if self.world.memory and os.WIFSIGNALED(status) and os.WTERMSIG(status) in FAULTS:
            self.retreat(chunk[0], GUARDED)
        elif not self.raised:
            self.report["reason"] = "a child process died; its iterations ran again"

    def _merge(self, index: int) -> bool:
        """Put one iteration's results in their place; False = they cannot be, and nothing has changed."""
        done = self.settled.pop(index)
        if done is None:
            return False
        if not self.written.isdisjoint(done.files):
            self.retreat(index, "two iterations write the same file")
            return False
        try:
            fold(self.work.frame, self.work.spec.carried, done.entries, done.conditional)
        except Exception:
            return False  # in place it raises where it should
        self.written.update(done.files)
        place_files(done.files, self.brought)
        for number, state in done.changes:
            put_state(self.world.objects[number], state)
        self.settings.tap.replay(done.outputs)
        if self.work.one is not None:
            self.values.append(done.values)
        self.report["mapped"] += 1
        return True

    # the end ------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        with undisturbed():
            for pid, channel in self.channels.items():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.selector.unregister(channel)
                channel.close()
                os.waitpid(pid, 0)
            self.channels, self.assigned, self.idle = {}, {}, []

    def close(self) -> None:
        """End the children; files that iterations after the last one wrote are taken back."""
        if os.getpid() != self.owner:
            return
        if self.away is not None:
            self.away.end()
        self._kill()
        self.selector.close()
        with self.quiet():
            take_back(self.folder, range(self.position + 1, self.total))
            shutil.rmtree(self.folder, ignore_errors=True)
