"""A store in a bucket of S3, or of a server that speaks as it does, below one prefix.

    store.json  key                  format; signing key, written once (who may read the bucket is trusted)
    blobs/aa/<sha256>                content
    runs/<run>/<number>              its journal (`journal`): all that is exclusive
    runs/<run>/beat                  its age tells whether the run is held
    memo/<key>/<name>  profile/<key>/<number>   what outlives runs

What was downloaded or uploaded is kept in a local folder, which may be lost at any time between two uses.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Callable

from jup2kub.errors import StoreProblem
from jup2kub.kit import canon
from jup2kub.model.facts import Facts, Profile

from . import BlobRef, Commit, Record, RunInfo, RunKey, Slot, SweepReport, Usage, s3sweep
from .bucket import Bucket, probe
from .profile import merge
from .s3blobs import Blobs
from .s3runs import Runs
from .slots import blobs_of, references, slot_name
from .trust import KEY_BYTES, Key

FORMAT = 1
_MEMO = re.compile(r"[0-9a-zA-Z_-]{8,128}")
_PROFILE = re.compile(r"[0-9a-zA-Z_.-]{4,160}")
KEPT = 8
"""Versions of a profile entry that stay, for those who write at the same time."""


class S3Store:
    """See `Store`. `folder` is private to this process; `cache_bytes` is what it may hold (None = no bound)."""

    def __init__(
        self,
        bucket: Bucket,
        folder: Path,
        *,
        cap_bytes: int | None = None,
        cache_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.cap_bytes, self._bucket, self._clock = cap_bytes, bucket, clock
        self._ignored: dict[str, str] = {}
        probe(bucket)
        self._key = _open(bucket, entropy)
        self._blobs = Blobs(bucket, folder, cache_bytes, clock)
        self._runs = Runs(bucket, self._key, self._ignored, clock, entropy)
        self._folder = Path(folder).absolute()

    # blobs

    def staging(self) -> Path:
        return self._blobs.staging()

    def workshop(self, run: str) -> tuple[Path, str]:
        self._runs.journal(run).known()
        path = self._folder / "work" / run
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path, self._key.mac(f"{run}/parts", b"")

    def put_blob(self, data: bytes) -> str:
        return self._blobs.put(data)

    def adopt_blob(
        self, path: Path, *, sha256: str | None = None, size: int | None = None, trusted: bool = False
    ) -> str:
        return self._blobs.adopt(Path(path), sha256, size, trusted)

    def has_blob(self, sha256: str, size: int) -> bool:
        return self._blobs.has(sha256, size)

    def blob_path(self, sha256: str, size: int) -> Path:
        return self._blobs.path(sha256, size)

    def read_blob(self, sha256: str, size: int | None = None) -> bytes:
        return self._blobs.read(sha256, size)

    # commits

    def commit(self, slot: Slot, record: Record) -> Commit:
        slot_name(slot)  # refuses what no store could hold
        for blob in references(record):
            self._blobs.need(blob)
        return self._runs.journal(slot.run).commit(slot, record)

    def record(self, slot: Slot) -> Record | None:
        return self._runs.journal(slot.run).read().slots.get(slot)

    def records(self, run: str) -> Mapping[Slot, Record]:
        found = dict(self._runs.journal(run).known().slots)
        return {slot: found[slot] for slot in sorted(found, key=lambda s: (s.step, s.chunk, s.generation))}

    def latest(self, run: str, step: str, chunk: int = 0) -> tuple[Slot, Record] | None:
        found = [(s, r) for s, r in self.records(run).items() if (s.step, s.chunk) == (step, chunk)]
        return found[-1] if found else None

    def valid(self, record: Record) -> bool:
        try:
            return all(self.has_blob(blob.sha256, blob.bytes) for blob in blobs_of(record))
        except ValueError:
            return False

    def next_generation(self, slot: Slot) -> Slot:
        found = self.latest(slot.run, slot.step, slot.chunk)
        return replace(slot, generation=found[0].generation + 1 if found else 0)

    def intent(self, run: str, generation: int, cell: int, record: Record) -> Commit:
        return self._runs.journal(run).intent(generation, cell, record)

    def intents(self, run: str) -> Mapping[tuple[int, int], Record]:
        return dict(self._runs.journal(run).known().intents)

    def main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        return self._runs.journal(run).epoch(epoch, record).won

    def last_epoch(self, run: str) -> int:
        return max(self._runs.journal(run).known().epochs, default=0)

    def cancel(self, run: str, record: Record) -> bool:
        return self._runs.journal(run).cancel(record)

    def cancelled(self, run: str) -> Record | None:
        return self._runs.journal(run).read().cancelled

    # what outlives a run

    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        record = self.record(slot)
        if record is None:
            raise StoreProblem("J2K512", f"nothing was committed in {slot}")
        now = self._clock()
        name = f"memo/{_fitting(_MEMO, key)}/{canon.digest(f'{slot.run}/{slot_name(slot)}')[:24]}"
        body = {"created": now, "used": now, "record": record, "observed": observed}
        self._bucket.put(name, self._key.seal(name, body))

    def recall(self, key: str, check: Callable[[Record], bool]) -> Record | None:
        names = [name for name, _ in self._bucket.names(f"memo/{_fitting(_MEMO, key)}/")]
        read = ((name, s3sweep.memo(self._bucket, self._key, name, self._ignored)) for name in names)
        found = [(name, body) for name, body in read if body is not None]
        for name, body in sorted(found, key=lambda f: (f[1]["created"], f[0]), reverse=True):
            record: Record = body["record"]
            if record.get("status") == "ok" and check(body["observed"]) and self.valid(record):
                self._bucket.put(name, self._key.seal(name, {**body, "used": self._clock()}))
                return record
        return None

    def learn(self, key: str, facts: Facts) -> None:
        folder = f"profile/{_fitting(_PROFILE, key)}/"
        while True:
            old, number = _newest(self._bucket, folder, self._ignored)
            text = json.dumps(canon.to_json(merge(old, facts)), indent=1, sort_keys=True).encode()
            if self._bucket.put_once(f"{folder}{number + 1:010d}", text) is not None:
                continue
            names = [name for name, _ in self._bucket.names(folder)]
            # A name below the newest may be free only because it was cleared away: then another's facts came first.
            if names[-1] == f"{folder}{number + 1:010d}":
                for name in names[:-KEPT]:
                    self._bucket.delete(name)
                return

    def profile(self) -> Profile:
        return _Profiles(self._bucket, self._ignored)

    # runs

    def open_run(self, key: RunKey, *, fresh: bool = False) -> RunInfo:
        return self._runs.open(key, fresh)

    def update_run(self, run: str, *, plan: BlobRef | None = None) -> RunInfo:
        return self._runs.update(run, plan)

    def undo_folder(self, run: str) -> Path:
        return self._folder / "undo" / run

    def close_run(self, run: str, state: str) -> RunInfo:
        return self._runs.finish(run, state)

    def runs(self) -> tuple[RunInfo, ...]:
        return self._runs.all()

    # housekeeping

    def sweep(self, keep_bytes: int | None = None, *, dry_run: bool = False) -> SweepReport:
        cap = self.cap_bytes if keep_bytes is None else keep_bytes
        house = s3sweep.House(self._bucket, self._key, self._runs, self._blobs, self._ignored, self._clock())
        return s3sweep.sweep(house, cap, dry_run=dry_run)

    def usage(self) -> Usage:
        return s3sweep.usage(self._bucket, self.cap_bytes)

    def ignored(self) -> Mapping[str, str]:
        return dict(self._ignored)

    def close(self) -> None:
        self._runs.let_go()
        self._blobs.close()
        self._bucket.close()

    def __enter__(self) -> S3Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(bucket: Bucket, entropy: Callable[[int], bytes]) -> Key:
    """Make the store if it is not there, and return its key."""
    mine = json.dumps({"format": FORMAT}).encode()
    marker = bucket.put_once("store.json", mine)
    if marker is not None:
        try:
            known = json.loads(marker)["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise StoreProblem(
                "J2K505",
                f"the store {bucket.url} has a format that this program does not know ({FORMAT})",
                "name a new prefix; nothing in the old one is lost",
            )
    fresh = entropy(KEY_BYTES)
    held = bucket.put_once("key", fresh.hex().encode())
    try:
        secret = fresh if held is None else bytes.fromhex(held.decode())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise StoreProblem("J2K506", f"the store's key in {bucket.url} is damaged", "name another prefix")
    return Key(secret)


def _fitting(pattern: re.Pattern[str], key: str) -> str:
    if not pattern.fullmatch(key) or key.startswith("."):
        raise StoreProblem("J2K513", f"{key!r} cannot be a key ({pattern.pattern})")
    return key


def _newest(bucket: Bucket, folder: str, ignored: dict[str, str]) -> tuple[Facts | None, int]:
    """Return the newest facts below a profile key, and their number; (None, 0) if there are none."""
    names = [name for name, _ in bucket.names(folder)]
    if not names:
        return None, 0
    number = int(names[-1].rpartition("/")[2])
    text = bucket.get(names[-1])
    try:
        return (None if text is None else canon.from_json(Facts, json.loads(text))), number
    except ValueError as error:
        ignored[names[-1]] = str(error)
        return None, number


class _Profiles(Mapping[str, Facts]):
    """What was learned, asked for where it is read."""

    def __init__(self, bucket: Bucket, ignored: dict[str, str]) -> None:
        self._bucket, self._ignored = bucket, ignored

    def __getitem__(self, key: str) -> Facts:
        found, _ = _newest(self._bucket, f"profile/{_fitting(_PROFILE, key)}/", self._ignored)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.split("/")[1] for name, _ in self._bucket.names("profile/")))

    def __len__(self) -> int:
        return len(list(iter(self)))
