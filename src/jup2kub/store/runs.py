"""Runs: their names, what is known of each, and the lock that says who holds one.

A run belongs to whoever holds the lock on `runs/<run>/lock`. The kernel of the machine lets go of it when the process
dies, however it dies; so a run that says `running` and is not locked was interrupted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, Callable

from jup2kub.errors import StoreProblem
from jup2kub.kit import canon

from . import STATES, UNFINISHED, BlobRef, RunInfo, RunKey, process
from .disk import Disk, make_folder, replace, sync_folder, take_lock
from .slots import CLOSED, Ledger
from .trust import Key, NotTrustedError

META, LOCK = "run.json", "lock"
LOOKS = 5
"""Tries before a locked run counts as held."""
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def run_id(now: float, entropy: bytes) -> str:
    """Return a ULID in lower case: 10 characters of milliseconds since the epoch, 16 of 10 random bytes."""
    number = (int(now * 1000) << 80) | int.from_bytes(entropy[:10], "big")
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -1, -5))


class Runs:
    """The runs below one folder. Raises OSError; `files` turns it into StoreProblem."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        key: Key,
        ledger: Ledger,
        ignored: dict[str, str],
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._disk, self._folder, self._key, self._ledger = disk, folder, key, ledger
        self._ignored, self._clock, self._entropy = ignored, clock, entropy
        self._held: dict[str, tuple[int, RunInfo]] = {}
        self._lock = threading.Lock()

    def open(self, key: RunKey, fresh: bool) -> RunInfo:
        found = None if fresh else self._continue(key)
        return found or self._begin(key)

    def _begin(self, key: RunKey) -> RunInfo:
        now = self._clock()
        run = run_id(now, self._entropy(10))
        # Made under a name that no reader takes for a run, so that a crash leaves no run without lock and ledger.
        made = self._folder / f".tmp-{process.current().token}-{run}"
        make_folder(self._disk, made)
        fd = take_lock(made / LOCK, exclusive=True)
        try:
            make_folder(self._disk, made / "ledger")
            info = RunInfo(run, key, "running", now, now, now, os.getpid(), True)
            self._write(made, info)
            self._disk.rename(made, self._folder / run)
            sync_folder(self._disk, self._folder)
        except BaseException:
            os.close(fd)
            raise
        return self._hold(fd, info)

    def _continue(self, key: RunKey) -> RunInfo | None:
        for run in self._names():
            info = self.info(run)
            if info is None or info.key != key or info.state not in UNFINISHED:
                continue
            with contextlib.suppress(BlockingIOError):
                fd = self._take(run)
                # Read again: its holder may have ended it just before it let go.
                info = self.info(run) if fd is not None else None
                if fd is None or info is None or info.state not in UNFINISHED:
                    if fd is not None:
                        os.close(fd)
                    continue
                now = self._clock()
                info = changed(
                    info, state="running", opened=now, updated=now, pid=os.getpid(), live=True, resumed=True
                )
                self._write(self._folder / run, info)
                return self._hold(fd, info)
        return None

    def _take(self, run: str) -> int | None:
        """Return a descriptor that locks the run; None if the run is gone. Raises BlockingIOError if it is held."""
        path = self._folder / run / LOCK
        for attempt in range(LOOKS):
            try:
                fd = take_lock(path, exclusive=True, wait=False)
            except FileNotFoundError:
                return None
            except BlockingIOError:
                if attempt + 1 == LOOKS:
                    raise
                # Perhaps only somebody who looks whether the run is live: that takes microseconds.
                time.sleep(0.002)
                continue
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(fd).st_ino == path.stat().st_ino:
                    return fd
            os.close(fd)
            return None
        return None

    @contextlib.contextmanager
    def claimed(self, run: str) -> Iterator[bool]:
        """Hold the run for a moment, to remove it; False if another holds it."""
        try:
            fd = None if run in self._held else self._take(run)
        except BlockingIOError:
            fd = None
        try:
            yield fd is not None
        finally:
            if fd is not None:
                os.close(fd)

    def _hold(self, fd: int, info: RunInfo) -> RunInfo:
        with self._lock:
            self._held[info.id] = (fd, info)
        return info

    def update(self, run: str, plan: BlobRef | None) -> RunInfo:
        fd, info = self._own(run)
        info = changed(info, updated=self._clock(), plan=plan or info.plan)
        self._write(self._folder / run, info)
        return self._hold(fd, info)

    def finish(self, run: str, state: str) -> RunInfo:
        if state not in STATES or state == "running":
            raise StoreProblem("J2K513", f"{state!r} is not a state in which a run can end")
        fd, info = self._own(run)
        info = changed(info, state=state, updated=self._clock(), live=False)
        try:
            self._write(self._folder / run, info)
        finally:
            with self._lock:
                self._held.pop(run, None)
            os.close(fd)
        return self.info(run) or info

    def _own(self, run: str) -> tuple[int, RunInfo]:
        with self._lock:
            if run not in self._held:
                raise StoreProblem("J2K512", f"run {run!r} is not held by this process")
            return self._held[run]

    def let_go(self) -> None:
        """Let go of all runs, as they are."""
        with self._lock:
            held, self._held = self._held, {}
        for fd, _ in held.values():
            os.close(fd)

    def _names(self) -> tuple[str, ...]:
        names = (p.name for p in self._folder.iterdir())
        return tuple(sorted((n for n in names if not n.startswith(".")), reverse=True))

    def all(self) -> tuple[RunInfo, ...]:
        found = (self.info(run) for run in self._names())
        return tuple(info for info in found if info is not None)

    def count(self) -> int:
        """Return how many there are, without looking into them."""
        return sum((self._folder / run / META).is_file() for run in self._names())

    def info(self, run: str) -> RunInfo | None:
        """Return what is known of the run; None if nothing that can be trusted is."""
        folder = self._folder / run
        try:
            data = self._key.unseal(f"{run}/{META}", (folder / META).read_bytes())
            info = canon.from_json(RunInfo, data)
        except FileNotFoundError:
            return None
        except (NotTrustedError, ValueError) as e:
            self._ignored[f"runs/{run}/{META}"] = str(e)
            return None
        live = self.is_live(run)
        state = "interrupted" if info.state == "running" and not live else info.state
        if (folder / CLOSED).is_dir() or self._ledger.cancelled(run) is not None:
            state = "cancelled"
        return changed(info, state=state, live=live, resumed=False)

    def is_live(self, run: str) -> bool:
        """Return whether a process holds the run now."""
        if run in self._held:
            return True
        try:
            # Shared, so that two who merely look do not take each other for holders.
            os.close(take_lock(self._folder / run / LOCK, exclusive=False, wait=False))
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def _write(self, folder: Path, info: RunInfo) -> None:
        data: dict[str, Any] = canon.to_json(info)
        replace(self._disk, folder / META, self._key.seal(f"{info.id}/{META}", data))
