"""The store over HTTP, server side: each method as JSON in and out, and blobs in pieces."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jup2kub.errors import Interrupted, StoreProblem
from jup2kub.kit.canon import digest, from_json, to_json
from jup2kub.model.facts import Facts
from jup2kub.store import BlobRef, Missing, Record, RunKey, Slot, Store
from jup2kub.store.disk import problem

Arguments = Mapping[str, Any]
PIECE = 8 << 20
"""Most bytes of a blob in one answer."""


class StoreApi:
    """`committed` is told of every record that holds in a slot after a commit was asked for."""

    def __init__(
        self, store: Store, committed: Callable[[Slot, Record], None] = lambda slot, record: None
    ) -> None:
        self.store, self.committed = store, committed
        self._uploads: dict[str, Path] = {}
        self._lock = threading.Lock()

    def call(self, method: str, arguments: Arguments) -> Any:
        """Carry out one method. Raises StoreProblem, also for one that does not exist (J2K522)."""
        act = getattr(self, f"_do_{method}", None)
        if act is None:
            raise StoreProblem("J2K522", f"the run server knows no request {method!r}")
        try:
            return act(**arguments)
        except (TypeError, ValueError, KeyError) as e:
            raise StoreProblem("J2K522", f"{method}: {e}") from e

    # -- blobs ---------------------------------------------------------------------------------------------------

    def have(self, sha256: str, size: int | None) -> int:
        """Return how many bytes of the blob are there: all, those of an upload under way, or -1 for none."""
        if size is None:
            try:
                return len(self.store.read_blob(sha256))
            except Missing:
                return -1
        if self.store.has_blob(sha256, size):
            return size
        with self._lock:
            path = self._uploads.get(sha256)
            return path.stat().st_size if path is not None and size else -1

    def put(self, sha256: str, size: int, offset: int, data: bytes) -> int:
        """Take a piece of a blob; return how many bytes are there now. The last piece makes it a blob.

        Raises StoreProblem (J2K511) when the whole is not what its name says; then nothing of it is kept.
        """
        with self._lock:
            path = self._uploads.get(sha256)
            if path is None:
                path = self._uploads[sha256] = self.store.staging() / "part"
                path.touch()
            with self._written(sha256), open(path, "r+b") as file:
                end = file.seek(0, os.SEEK_END)
                if offset > end or offset + len(data) > size:
                    return end
                file.seek(offset)
                file.write(data)
                end = max(end, offset + len(data))
            if end < size:
                return end
            del self._uploads[sha256]
            try:
                self.store.adopt_blob(path, sha256=sha256, size=size)
            finally:
                path.unlink(missing_ok=True)
                path.parent.rmdir()
            return size

    @contextlib.contextmanager
    def _written(self, sha256: str) -> Iterator[None]:
        """Drop a blob's pieces where one cannot be written: what cannot be finished keeps no room from others."""
        try:
            yield
        except OSError as error:
            path = self._uploads.pop(sha256)
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()
            raise problem(path.parent, error) from error

    def get(self, sha256: str, size: int, first: int, last: int) -> bytes:
        """Return the bytes from `first` to `last`, both included, of a blob; at most `PIECE`. Raises Missing."""
        with open(self.store.blob_path(sha256, size), "rb") as file:
            file.seek(first)
            return file.read(max(0, min(last - first + 1, PIECE)))

    # -- commits -------------------------------------------------------------------------------------------------

    def _do_commit(self, slot: Any, record: Record, main_epoch: int = 0) -> Any:
        place = from_json(Slot, slot)
        if main_epoch and self.store.last_epoch(place.run) > main_epoch:
            raise Interrupted("J2K603", "another agent has taken over the main line")
        done = self.store.commit(place, record)
        if done.record is not None:
            self.committed(place, done.record)
        return {"won": done.won, "record": done.record}

    def _do_record(self, slot: Any) -> Any:
        return self.store.record(from_json(Slot, slot))

    def _do_records(self, run: str) -> Any:
        return [[to_json(slot), record] for slot, record in self.store.records(run).items()]

    def _do_latest(self, run: str, step: str, chunk: int = 0) -> Any:
        found = self.store.latest(run, step, chunk)
        return [to_json(found[0]), found[1]] if found else None

    def _do_valid(self, record: Record) -> bool:
        return self.store.valid(record)

    def _do_next_generation(self, slot: Any) -> Any:
        return to_json(self.store.next_generation(from_json(Slot, slot)))

    def _do_intent(self, run: str, generation: int, cell: int, record: Record) -> Any:
        done = self.store.intent(run, generation, cell, record)
        return {"won": done.won, "record": done.record}

    def _do_intents(self, run: str) -> Any:
        return [[*name, record] for name, record in self.store.intents(run).items()]

    def _do_main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        return self.store.main_epoch(run, epoch, record)

    def _do_last_epoch(self, run: str) -> int:
        return self.store.last_epoch(run)

    def _do_cancel(self, run: str, record: Record) -> bool:
        return self.store.cancel(run, record)

    def _do_cancelled(self, run: str) -> Any:
        return self.store.cancelled(run)

    # -- what outlives a run, runs, housekeeping -----------------------------------------------------------------

    def _do_remember(self, key: str, slot: Any, observed: Record) -> None:
        self.store.remember(key, from_json(Slot, slot), observed)

    def _do_recall(self, key: str, refused: list[str]) -> Any:
        """Find the newest whose observations were not refused before: who asks must look at them where it runs."""
        seen: list[Record] = []

        def check(observed: Record) -> bool:
            seen.append(observed)
            return digest(observed) not in refused

        record = self.store.recall(key, check)
        return None if record is None else {"record": record, "observed": seen[-1]}

    def _do_learn(self, key: str, facts: Any) -> None:
        self.store.learn(key, from_json(Facts, facts))

    def _do_profile(self, key: str) -> Any:
        found = self.store.profile().get(key)
        return None if found is None else to_json(found)

    def _do_profile_keys(self) -> Any:
        return list(self.store.profile())

    def _do_workshop(self, run: str) -> str:
        return self.store.workshop(run)[1]

    def _do_open_run(self, key: Any, fresh: bool) -> Any:
        return to_json(self.store.open_run(from_json(RunKey, key), fresh=fresh))

    def _do_update_run(self, run: str, plan: Any) -> Any:
        return to_json(self.store.update_run(run, plan=None if plan is None else from_json(BlobRef, plan)))

    def _do_close_run(self, run: str, state: str) -> Any:
        return to_json(self.store.close_run(run, state))

    def _do_runs(self) -> Any:
        return to_json(self.store.runs())

    def _do_sweep(self, keep_bytes: int | None, dry_run: bool) -> Any:
        return to_json(self.store.sweep(keep_bytes, dry_run=dry_run))

    def _do_usage(self) -> Any:
        return to_json(self.store.usage())

    def _do_ignored(self) -> Any:
        return dict(self.store.ignored())
