"""A run in a bucket: one journal, `runs/<run>/<number>`, in which every entry is a conditional write.

Numbers have no gaps, for each writer takes the one after the last it has read, so all readers fold the same entries in
the same order. What is exclusive follows from that order alone: the first entry for a slot is its commit, and entries
after the cancellation count for nothing. A bucket cannot rename a folder, as the ledger of a folder does to close it;
a writer that wakes up late finds its number taken, reads on, and meets the cancellation.
"""

from __future__ import annotations

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

from jup2kub.errors import StoreProblem
from jup2kub.kit import canon

from . import BlobRef, Commit, Record, RunInfo, RunKey, Slot
from .bucket import Bucket
from .trust import Key, NotTrustedError

READERS = 8
"""Entries read at once when a journal is met for the first time."""
BEAT = 3.0
"""Seconds between signs of life of who holds a run."""
LEASE = 12.0
"""Seconds without such a sign after which the run counts as let go."""


def entry_name(run: str, number: int) -> str:
    """Return the name of a journal's entry; names sort as numbers do."""
    return f"runs/{run}/{number:010d}"


def beat_name(run: str) -> str:
    """Return the name of the object whose age tells whether the run is held."""
    return f"runs/{run}/beat"


@dataclass
class Told:
    """What the entries read so far say."""

    info: Optional[RunInfo] = None
    """`live` is not known from here; None = nothing was read."""
    holder: str = ""
    """Token of who holds the run; empty = nobody."""
    slots: dict[Slot, Record] = field(default_factory=dict)
    intents: dict[tuple[int, int], Record] = field(default_factory=dict)
    epochs: dict[int, Record] = field(default_factory=dict)
    cancelled: Optional[Record] = None
    dropped: bool = False

    def take(self, entry: Record) -> None:
        """Fold one entry."""
        kind, record = entry["kind"], entry.get("record", {})
        if kind == "begin":
            self.info, self.holder = canon.from_json(RunInfo, entry["info"]), entry["holder"]
        elif self.info is None or self.dropped:
            return
        elif kind == "dropped":
            self.dropped = True
        elif kind == "hold":
            self.holder = entry["holder"]
            self.info = replace(
                self.info, state="running", opened=entry["at"], updated=entry["at"], pid=entry["pid"]
            )
        elif kind == "state" and entry["holder"] == self.holder:
            self.info = replace(self.info, state=entry["state"], updated=entry["at"])
            self.holder = "" if entry["let_go"] else self.holder
        elif kind == "plan" and entry["holder"] == self.holder:
            self.info = replace(self.info, plan=canon.from_json(BlobRef, entry["plan"]), updated=entry["at"])
        elif self.cancelled is not None:
            return
        elif kind == "cancel":
            self.cancelled = {**record, "status": "cancelled"}
        elif kind == "commit":
            slot = Slot(self.info.id, entry["step"], entry["chunk"], entry["generation"])
            self.slots.setdefault(slot, record)
        elif kind == "intent":
            self.intents.setdefault((entry["generation"], entry["cell"]), record)
        elif kind == "epoch":
            self.epochs.setdefault(entry["epoch"], record)


class Journal:
    """The journal of one run, read as far as somebody needed. Safe for threads; raises StoreProblem."""

    def __init__(self, bucket: Bucket, key: Key, run: str, ignored: dict[str, str]) -> None:
        self._bucket, self._key, self.run, self._ignored = bucket, key, run, ignored
        self._told, self._next = Told(), 0
        self._lock = threading.RLock()

    def read(self) -> Told:
        """Read what was written since, and return what holds; `info` None = there is no such run."""
        with self._lock:
            if self._next == 0:
                self._read_all()
            while True:
                text = self._bucket.get(entry_name(self.run, self._next))
                if text is None:
                    return self._told
                self._fold(text)

    def known(self) -> Told:
        """Return what holds. Raises StoreProblem (J2K512) if there is no such run."""
        told = self.read()
        if told.info is None or told.dropped:
            raise StoreProblem(
                "J2K512", f"there is no run {self.run!r} in the store", "`jup2kub runs` lists them"
            )
        return told

    def _read_all(self) -> None:
        names = [name for name, _ in self._bucket.names(f"runs/{self.run}/0")]
        whole = []
        for number, name in enumerate(names):
            if name != entry_name(self.run, number):
                break
            whole.append(name)
        with ThreadPoolExecutor(READERS) as pool:
            for text in pool.map(self._bucket.get, whole):
                if text is None:
                    return
                self._fold(text)

    def _fold(self, text: bytes) -> None:
        name = entry_name(self.run, self._next)
        self._next += 1
        try:
            self._told.take(self._key.unseal(name, text))
        except (NotTrustedError, KeyError, TypeError, ValueError) as error:
            # It takes up a number, and nothing else: nobody's slot is blocked by what is not trusted.
            self._ignored[name] = str(error)

    def append(self, entry: Record, settled: Callable[[Told], Any]) -> Any:
        """Write the entry, unless `settled` finds in what was written before that it is too late: return that.

        Returns None when the entry was written.
        """
        # The nonce tells one's own entry from an equal one of somebody else, when the answer to the write was lost.
        entry = {**entry, "nonce": secrets.token_hex(8)}
        with self._lock:
            if self._next == 0 and entry["kind"] != "begin":
                self.known()
            while True:
                found = settled(self._told)
                if found is not None:
                    return found
                name = entry_name(self.run, self._next)
                sealed = self._key.seal(name, entry)
                held = self._bucket.put_once(name, sealed)
                self._fold(sealed if held is None else held)
                if held is None:
                    return None

    # what is exclusive

    def begin(self, key: RunKey, now: float, holder: str) -> RunInfo:
        """Write the first entry."""
        info = RunInfo(self.run, key, "running", now, now, now, os.getpid(), True)
        entry = {"kind": "begin", "info": canon.to_json(info), "holder": holder}
        if self.append(entry, lambda told: told.info) is not None:
            raise StoreProblem("J2K508", f"two runs drew the name {self.run}", "run again")
        return info

    def commit(self, slot: Slot, record: Record) -> Commit:
        """Put the record into the slot, if it is the first."""
        about = {"step": slot.step, "chunk": slot.chunk, "generation": slot.generation}
        return self._exclusive("commit", about, record, lambda told: told.slots.get(slot))

    def intent(self, generation: int, cell: int, record: Record) -> Commit:
        """Announce a cell with effects, if nobody did."""
        about = {"generation": generation, "cell": cell}
        return self._exclusive("intent", about, record, lambda told: told.intents.get((generation, cell)))

    def epoch(self, number: int, record: Record) -> Commit:
        """Claim an epoch of the main line."""
        return self._exclusive("epoch", {"epoch": number}, record, lambda told: told.epochs.get(number))

    def _exclusive(
        self, kind: str, about: Record, record: Record, held: Callable[[Told], Optional[Record]]
    ) -> Commit:
        def settled(told: Told) -> Optional[Record]:
            self._there(told)
            first = held(told)
            return told.cancelled if first is None else first

        found = self.append({"kind": kind, **about, "record": record}, settled)
        return Commit(True, record) if found is None else Commit(False, found)

    def cancel(self, record: Record) -> bool:
        """Close the run for what comes later; False if it was closed before."""

        def settled(told: Told) -> Optional[Record]:
            self._there(told)
            return told.cancelled

        return self.append({"kind": "cancel", "record": record}, settled) is None

    def _there(self, told: Told) -> None:
        if told.info is None or told.dropped:
            raise StoreProblem("J2K512", f"there is no run {self.run!r} in the store")

    # who holds it

    def hold(self, before: str, now: float, holder: str) -> bool:
        """Take the run over from `before` (empty = nobody holds it); False if somebody else did meanwhile."""

        def settled(told: Told) -> Optional[bool]:
            return True if told.holder != before or told.dropped or told.cancelled is not None else None

        entry = {"kind": "hold", "holder": holder, "at": now, "pid": os.getpid()}
        return self.append(entry, settled) is None

    def own(self, holder: str, entry: Record) -> Told:
        """Write what only the holder may. Raises StoreProblem (J2K512) for another."""

        def settled(told: Told) -> Optional[bool]:
            return True if told.holder != holder or told.dropped else None

        if self.append({**entry, "holder": holder}, settled) is not None:
            raise StoreProblem("J2K512", f"run {self.run!r} is not held by this process")
        return self._told

    def drop(self, before: str) -> bool:
        """Declare the run gone, if `before` holds it still; nobody can continue it from then on."""
        return self.append({"kind": "dropped"}, lambda told: told.holder != before or None) is None
