"""Chunks of a loop whose main part is elsewhere: a kernel that runs the cell up to the loop, and stays there.

Its children, forked when they are wanted, inherit all values that were loaded once, and run one chunk after the other. The
kernel never runs an iteration itself, nor anything after the loop: it ends when its agent has no more use for it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from .mapfork import GUARDED
from .mapguard import take_back
from .maplook import listed
from .mapparent import FAULTS, Parallel
from .maptalk import Talk
from .mapwatch import LOOK_SECONDS

TALK = -1


class Part:
    """Which loop the kernel is wanted for: `place`, `key`, `done`, `pace`, as they were sent away."""

    def __init__(self, talk: Talk, wanted: Mapping[str, Any]) -> None:
        self.talk = talk
        self.place, self.key = str(wanted["place"]), str(wanted["key"])
        self.done, self.pace = int(wanted["done"]), float(wanted["pace"])

    def unfit(self, why: str) -> None:
        """Say that the loop cannot be had here, and end."""
        self.talk.tell("unfit", why=why)
        leave()


def leave() -> None:
    """End this kernel in the middle of its cell: nothing after the loop is its affair. Never returns."""
    os._exit(0)


class Host(Parallel):
    """The loop, in the kernel that helps."""

    def run(self) -> Iterator[Any]:
        """Serve chunks until the agent says that it is over; yields items in children only, and never returns."""
        part: Part = self.settings.host
        reason = listed(self.work, self.items, self.world)
        if not reason:
            key = self.key()
            if not key:
                reason = "what it reads cannot be told apart by value"
            elif key != part.key:
                reason = "made again elsewhere, what it reads is not the same"
        if reason:
            part.unfit(reason)
        self.cores = 1 << 16
        self.selector.register(part.talk, selectors.EVENT_READ, TALK)
        part.talk.tell("ready")
        while True:
            self._hear(part.talk)
            if self.queue and not self.idle:
                child = self._start()
                if child is not None:
                    yield from self._serve(child)
            self._assign()

    def _hear(self, talk: Talk) -> None:
        """Wait until something is said, or a child has ended a chunk."""
        ready = [] if talk.waiting else [key.data for key, _ in self.selector.select(LOOK_SECONDS)]
        if talk.waiting or TALK in ready:
            message = talk.next()
            if message is None or "leave" in message:
                self._kill()
                leave()
            elif "run" in message:
                start, stop = message["run"]
                self.queue.append((start, stop))
            elif "drop" in message:
                self._drop(tuple(message["drop"]))
            elif "kept" in message:
                self._forget(*message["kept"])
        for pid in ready:
            if pid != TALK:
                self._from(pid)
        self.watch.end_still(self.assigned)  # their chunks are lost, for who asked for them

    def _drop(self, chunk: Any) -> None:
        self.queue = [c for c in self.queue if c != chunk]
        for pid, mine in list(self.assigned.items()):
            if mine == chunk:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _forget(self, start: int, stop: int) -> None:
        """The chunk's results are safe: its files go, for they belong where the loop is put together."""
        with self.quiet():
            take_back(self.folder, range(start, stop))
            for name in (f"{start}-{stop}", f"{start}-{stop}.files"):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.folder, name))

    def _read(self, start: int, stop: int) -> None:
        self.settings.host.talk.tell(
            "chunk", chunk=[start, stop], path=os.path.join(self.folder, f"{start}-{stop}")
        )

    def _lost(self, chunk: Any, status: int) -> None:
        fault = bool(self.world.memory) and os.WIFSIGNALED(status) and os.WTERMSIG(status) in FAULTS
        with self.quiet():
            take_back(self.folder, range(*chunk))
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {status >> 8}"
        why = GUARDED if fault else f"the process that ran them ended by {how}"
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.settings.host.talk.tell("lost", chunk=list(chunk), why=why, fault=fault, signal=number)

    def _stay(self) -> None:
        self.settings.host.unfit("this process cannot be forked safely")

    def _trade(self) -> None:
        """Whose cores these are is the agent's affair: it names no more chunks than it has."""
