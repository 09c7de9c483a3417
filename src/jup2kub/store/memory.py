"""A store in memory, for tests and for runs that shall leave nothing behind."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts, Profile

from . import STATES, UNFINISHED, BlobRef, Commit, Missing, Record, RunInfo, RunKey, Slot, SweepReport, Usage
from .blobs import SHA256
from .profile import merge
from .runs import run_id
from .slots import blobs_of, references
from .sweep import GRACE, Census, Found, Unit, decide


def _frozen(record: Record) -> Any:
    try:
        return json.loads(json.dumps(record))
    except (TypeError, ValueError) as e:
        raise StoreProblem("J2K513", f"the record is not JSON: {e}") from e


class MemoryStore:
    """See `Store`. Safe for threads; two processes cannot share it."""

    def __init__(
        self,
        *,
        cap_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.cap_bytes, self._clock, self._entropy = cap_bytes, clock, entropy
        self._lock = threading.RLock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._blobs: dict[str, tuple[bytes, float]] = {}
        self._ledgers: dict[str, dict[Any, Any]] = {}
        self._cancelled: dict[str, Record] = {}
        self._runs: dict[str, RunInfo] = {}
        self._undo: dict[str, Path] = {}
        self._memo: dict[tuple[str, Slot], tuple[float, float, Record, Record]] = {}
        self._profile: dict[str, Facts] = {}
        self._workshops: dict[str, Path] = {}

    # blobs

    def staging(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="jup2kub-")
            return Path(tempfile.mkdtemp(dir=self._folder.name))

    def workshop(self, run: str) -> tuple[Path, str]:
        with self._lock:
            if run not in self._workshops:
                self._workshops[run] = self.staging()
            return self._workshops[run], run

    def put_blob(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._blobs[sha256] = (bytes(data), self._clock())
        return sha256

    def adopt_blob(
        self, path: Path, *, sha256: str | None = None, size: int | None = None, trusted: bool = False
    ) -> str:
        if Path(path).is_symlink():
            raise StoreProblem("J2K511", f"{path} is a symbolic link, not a file")
        data = Path(path).read_bytes()
        if size not in (None, len(data)) or sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise StoreProblem("J2K511", f"{path} is not what its writer said")
        Path(path).unlink()
        return self.put_blob(data)

    def has_blob(self, sha256: str, size: int) -> bool:
        return sha256 in self._blobs and len(self._blobs[sha256][0]) == size

    def blob_path(self, sha256: str, size: int) -> Path:
        data = self.read_blob(sha256, size)
        path = self.staging() / sha256
        path.write_bytes(data)
        return path

    def read_blob(self, sha256: str, size: int | None = None) -> bytes:
        if not SHA256.fullmatch(sha256):
            raise StoreProblem("J2K513", f"{sha256!r} is not a sha256 of 64 lower-case hexadecimal digits")
        data, _ = self._blobs.get(sha256, (None, 0.0))
        if data is None or size not in (None, len(data)):
            raise Missing("J2K510", f"blob {sha256[:12]}: absent")
        return data

    # commits

    def _write(self, run: str, name: Any, record: Record) -> Commit:
        frozen = _frozen(record)
        with self._lock:
            ledger = self._ledger(run)
            if name in ledger:
                return Commit(False, ledger[name])
            if run in self._cancelled:
                return Commit(False, self._cancelled[run])
            ledger[name] = frozen
            return Commit(True, record)

    def _ledger(self, run: str) -> dict[Any, Any]:
        if run not in self._ledgers:
            raise StoreProblem("J2K512", f"there is no run {run!r} in the store")
        return self._ledgers[run]

    def commit(self, slot: Slot, record: Record) -> Commit:
        for blob in references(record):
            self.read_blob(blob.sha256, blob.bytes)
        return self._write(slot.run, slot, record)

    def record(self, slot: Slot) -> Record | None:
        return self._ledgers.get(slot.run, {}).get(slot)

    def records(self, run: str) -> Mapping[Slot, Record]:
        slots = [name for name in self._ledger(run) if isinstance(name, Slot)]
        return {
            s: self._ledgers[run][s] for s in sorted(slots, key=lambda s: (s.step, s.chunk, s.generation))
        }

    def _generations(self, run: str, step: str, chunk: int) -> list[Slot]:
        return [slot for slot in self.records(run) if (slot.step, slot.chunk) == (step, chunk)]

    def latest(self, run: str, step: str, chunk: int = 0) -> tuple[Slot, Record] | None:
        found = self._generations(run, step, chunk)
        return (found[-1], self._ledgers[run][found[-1]]) if found else None

    def valid(self, record: Record) -> bool:
        try:
            return all(self.has_blob(blob.sha256, blob.bytes) for blob in blobs_of(record))
        except ValueError:
            return False

    def next_generation(self, slot: Slot) -> Slot:
        found = self._generations(slot.run, slot.step, slot.chunk)
        return replace(slot, generation=found[-1].generation + 1 if found else 0)

    def intent(self, run: str, generation: int, cell: int, record: Record) -> Commit:
        return self._write(run, ("intent", generation, cell), record)

    def intents(self, run: str) -> Mapping[tuple[int, int], Record]:
        found = self._ledger(run).items()
        return {(n[1], n[2]): r for n, r in found if isinstance(n, tuple) and n[0] == "intent"}

    def main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        return self._write(run, ("epoch", epoch), record).won

    def last_epoch(self, run: str) -> int:
        names = [n for n in self._ledger(run) if isinstance(n, tuple) and n[0] == "epoch"]
        return max((n[1] for n in names), default=0)

    def cancel(self, run: str, record: Record) -> bool:
        with self._lock:
            self._ledger(run)
            if run in self._cancelled:
                return False
            self._cancelled[run] = {**_frozen(record), "status": "cancelled"}
            return True

    def cancelled(self, run: str) -> Record | None:
        return self._cancelled.get(run)

    # what outlives a run

    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        record = self.record(slot)
        if record is None:
            raise StoreProblem("J2K512", f"nothing was committed in {slot}")
        now = self._clock()
        with self._lock:
            self._memo[key, slot] = (now, now, record, _frozen(observed))

    def recall(self, key: str, check: Callable[[Record], bool]) -> Record | None:
        with self._lock:
            found = [(entry, name) for name, entry in self._memo.items() if name[0] == key]
        for (created, _, record, observed), name in sorted(found, key=lambda e: e[0][0], reverse=True):
            if record.get("status") == "ok" and check(observed) and self.valid(record):
                self._memo[name] = (created, self._clock(), record, observed)
                return record
        return None

    def learn(self, key: str, facts: Facts) -> None:
        with self._lock:
            self._profile[key] = merge(self._profile.get(key), facts)

    def profile(self) -> Profile:
        return self._profile

    # runs

    def open_run(self, key: RunKey, *, fresh: bool = False) -> RunInfo:
        with self._lock:
            now = self._clock()
            for info in () if fresh else self.runs():
                if info.key == key and info.state in UNFINISHED and not info.live:
                    changed = replace(info, state="running", opened=now, updated=now, live=True)
                    self._runs[info.id] = changed
                    return replace(changed, resumed=True)
            run = run_id(now, self._entropy(10))
            self._runs[run] = RunInfo(run, key, "running", now, now, now, os.getpid(), True)
            self._ledgers[run] = {}
            return self._runs[run]

    def _own(self, run: str) -> RunInfo:
        if run not in self._runs or not self._runs[run].live:
            raise StoreProblem("J2K512", f"run {run!r} is not held by this process")
        return self._runs[run]

    def update_run(self, run: str, *, plan: BlobRef | None = None) -> RunInfo:
        info = self._own(run)
        self._runs[run] = replace(info, updated=self._clock(), plan=plan or info.plan)
        return self._runs[run]

    def undo_folder(self, run: str) -> Path:
        if run not in self._undo:
            self._undo[run] = self.staging()
        return self._undo[run]

    def close_run(self, run: str, state: str) -> RunInfo:
        if state not in STATES or state == "running":
            raise StoreProblem("J2K513", f"{state!r} is not a state in which a run can end")
        self._runs[run] = replace(self._own(run), state=state, updated=self._clock(), live=False)
        return self._info(self._runs[run])

    def _info(self, info: RunInfo) -> RunInfo:
        state = "interrupted" if info.state == "running" and not info.live else info.state
        return replace(info, state="cancelled" if info.id in self._cancelled else state)

    def runs(self) -> tuple[RunInfo, ...]:
        return tuple(self._info(info) for _, info in sorted(self._runs.items(), reverse=True))

    # housekeeping

    def sweep(self, keep_bytes: int | None = None, *, dry_run: bool = False) -> SweepReport:
        with self._lock:
            census, memos = self._census()
            cap = self.cap_bytes if keep_bytes is None else keep_bytes
            dropped, kept = decide(census, cap, self._clock())
            for item in () if dry_run else dropped:
                if item.kind == "blob":
                    del self._blobs[item.name]
                elif item.kind == "memo":
                    del self._memo[memos[item.name]]
                else:
                    del self._runs[item.name], self._ledgers[item.name]
            return SweepReport(
                dry_run, tuple(dropped), kept, tuple(f"{u.kind} {u.name}" for u in census.units if u.pinned)
            )

    def _census(self) -> tuple[Census, dict[str, tuple[str, Slot]]]:
        live = [info.opened for info in self._runs.values() if info.live]
        busy = min(live, default=math.inf)
        census = Census(horizon=min(self._clock() - GRACE, busy), busy=busy)
        for info in self.runs():
            blobs: set[BlobRef] = {b for r in self.records(info.id).values() for b in blobs_of(r)}
            blobs |= {info.plan} if info.plan else set()
            ended = info.state in ("done", "cancelled")
            unit = Unit(
                "run",
                info.id,
                0,
                info.updated,
                frozenset(blobs),
                info.live,
                f"{info.state} run",
                0 if ended else 1,
            )
            census.units.append(unit)
        memos = {}
        for name, (_, used, record, _) in self._memo.items():
            title = f"{name[0]}/{name[1]}"
            memos[title] = name
            pinned = bool(live) and used >= census.horizon
            census.units.append(Unit("memo", title, 0, used, frozenset(blobs_of(record)), pinned, "a result"))
        census.blobs.update({k: Found(Path(k), len(data), at) for k, (data, at) in self._blobs.items()})
        return census, memos

    def usage(self) -> Usage:
        size = sum(len(data) for data, _ in self._blobs.values())
        return Usage(len(self._blobs), size, 0, 0, len(self._runs), len(self._memo), self.cap_bytes)

    def ignored(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        with self._lock:
            self._runs = {run: replace(info, live=False) for run, info in self._runs.items()}
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None
