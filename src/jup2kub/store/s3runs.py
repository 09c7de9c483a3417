"""Runs of a bucket: who holds one, and what is known of it.

No lock of a bucket ends with the process that took it. So who holds a run gives a sign of life every few seconds, and
another may take it over when none was seen for `journal.LEASE` seconds, told by the bucket's own clock. That decides
only who begins: what a holder that was taken for dead still writes is kept apart by epochs and generations.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from dataclasses import replace
from typing import Callable

from jup2kub.errors import StoreProblem

from . import STATES, UNFINISHED, BlobRef, RunInfo, RunKey
from .bucket import Bucket
from .journal import BEAT, LEASE, Journal, Told, beat_name
from .runs import run_id
from .trust import Key


class Runs:
    """The runs below a bucket's prefix. Safe for threads. Raises StoreProblem."""

    def __init__(
        self,
        bucket: Bucket,
        key: Key,
        ignored: dict[str, str],
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._bucket, self._key, self._ignored = bucket, key, ignored
        self._clock, self._entropy = clock, entropy
        self._journals: dict[str, Journal] = {}
        self._held: dict[str, str] = {}
        """Tokens by the runs that this process holds."""
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def journal(self, run: str) -> Journal:
        """Return the journal of a run, whether there is such a run or not."""
        if not run.isalnum():
            raise StoreProblem("J2K512", f"there is no run {run!r} in the store")
        with self._lock:
            return self._journals.setdefault(run, Journal(self._bucket, self._key, run, self._ignored))

    def open(self, key: RunKey, fresh: bool) -> RunInfo:
        """See `Store.open_run`."""
        with self._lock:
            found = None if fresh else self._continue(key)
            if found is not None:
                return found
            now = self._clock()
            run, token = run_id(now, self._entropy(10)), self._token()
            self._bucket.put(beat_name(run), token.encode())
            info = self.journal(run).begin(key, now, token)
            self._hold(run, token)
            return info

    def _continue(self, key: RunKey) -> RunInfo | None:
        for run in self.names():
            told = self.journal(run).read()
            info = self._info(told) if told.info is not None and told.info.key == key else None
            if info is None or told.info is None or told.info.state not in UNFINISHED:
                continue
            if info.state == "cancelled" or run in self._held or not self._let_go(run, told.holder):
                continue
            token, now = self._token(), self._clock()
            self._bucket.put(beat_name(run), token.encode())
            if self.journal(run).hold(told.holder, now, token):
                self._hold(run, token)
                held = self.journal(run).known().info
                return replace(held, resumed=True, live=True) if held else None
        return None

    def _let_go(self, run: str, holder: str) -> bool:
        """Return whether nobody holds the run; wait until the silence of its holder is long enough to tell."""
        last = float("inf")
        while holder:
            age = self._age(run)
            if age >= LEASE:
                return True
            if age < last and last != float("inf"):
                return False
            last = age
            time.sleep(min(1.0, LEASE - age))
        return True

    def _age(self, run: str) -> float:
        seen = self._bucket.head(beat_name(run))
        return float("inf") if seen is None else seen.age

    def _token(self) -> str:
        return f"{os.getpid()}-{secrets.token_hex(8)}"

    def _hold(self, run: str, token: str) -> None:
        self._held[run] = token
        if self._beating is None:
            self._stop.clear()
            self._beating = threading.Thread(target=self._beat, args=(self._stop,), daemon=True)
            self._beating.start()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT):
            for run, token in list(self._held.items()):
                try:
                    self._bucket.put(beat_name(run), token.encode())
                except StoreProblem as problem:
                    # The next sign may come through; if none does, another takes the run over, as it should.
                    self._ignored[beat_name(run)] = str(problem)

    def update(self, run: str, plan: BlobRef | None) -> RunInfo:
        """See `Store.update_run`."""
        token = self._own(run)
        if plan is not None:
            body = {"kind": "plan", "plan": {"sha256": plan.sha256, "bytes": plan.bytes}, "at": self._clock()}
            return self._told(self.journal(run).own(token, body))
        return self._told(self.journal(run).known())

    def finish(self, run: str, state: str) -> RunInfo:
        """See `Store.close_run`."""
        if state not in STATES or state == "running":
            raise StoreProblem("J2K513", f"{state!r} is not a state in which a run can end")
        token = self._own(run)
        entry = {"kind": "state", "state": state, "at": self._clock(), "let_go": True}
        with self._lock:
            self._held.pop(run, None)
        return self._told(self.journal(run).own(token, entry))

    def _own(self, run: str) -> str:
        with self._lock:
            if run not in self._held:
                raise StoreProblem("J2K512", f"run {run!r} is not held by this process")
            return self._held[run]

    def let_go(self) -> None:
        """Let go of all runs, as they are: they can be continued at once."""
        with self._lock:
            held, self._held = self._held, {}
            self._stop.set()
            beating, self._beating = self._beating, None
        if beating is not None:
            beating.join()
        for run, token in held.items():
            entry = {"kind": "state", "state": "interrupted", "at": self._clock(), "let_go": True}
            try:
                self.journal(run).own(token, entry)
            except StoreProblem as problem:
                # Another holds it by now, or the bucket does not answer: then its lease ends by itself.
                self._ignored[beat_name(run)] = str(problem)

    def names(self) -> tuple[str, ...]:
        """Return the names of all runs, the newest first; some may have been dropped."""
        return tuple(sorted({name.split("/")[1] for name, _ in self._bucket.names("runs/")}, reverse=True))

    def all(self) -> tuple[RunInfo, ...]:
        """See `Store.runs`."""
        found = (self._info(self.journal(run).read()) for run in self.names())
        return tuple(info for info in found if info is not None)

    def _told(self, told: Told) -> RunInfo:
        info = self._info(told)
        if info is None:
            raise StoreProblem("J2K512", "the run is gone")
        return info

    def _info(self, told: Told) -> RunInfo | None:
        if told.info is None or told.dropped:
            return None
        run = told.info.id
        live = run in self._held or (bool(told.holder) and self._age(run) < LEASE)
        state = "interrupted" if told.info.state == "running" and not live else told.info.state
        return replace(
            told.info, state="cancelled" if told.cancelled is not None else state, live=live, resumed=False
        )

    def holds(self, run: str) -> bool:
        """Return whether it is this process that holds the run."""
        return run in self._held

    def drop(self, run: str) -> bool:
        """Remove a run that nobody holds; False if somebody does by now."""
        told = self.journal(run).read()
        gone = told.info is None or told.dropped
        if not gone and not self.journal(run).drop(told.holder):
            return False
        # The last entry, which says so, goes last: what is left of a journal is never taken for a run.
        for name, _ in sorted(self._bucket.names(f"runs/{run}/")):
            self._bucket.delete(name)
        with self._lock:
            self._journals.pop(run, None)
        return True
