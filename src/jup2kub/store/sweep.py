"""Mark and sweep: what a live run refers to stays; the rest goes, the least recently used first, until the cap holds."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jup2kub.errors import StoreProblem

from . import BlobRef, Dropped, Record, RunInfo, SweepReport, Usage, disk, process
from .disk import Disk, discard, lock
from .memo import Memo, own_bytes
from .runs import Runs
from .slots import Ledger, blobs_of

GRACE = 3600.0
"""Seconds for which nobody but its dead owner's absence makes a temporary, or an unreferenced blob, rubbish."""
STALE = 30 * 86400.0
"""Seconds after which word of another boot's digests and processes is dropped."""
PATIENCE = 10.0
"""Seconds to wait for those who use the store at this moment."""


@dataclass(frozen=True)
class Unit:
    """What is dropped whole: a run with its records, or one memo entry."""

    kind: str
    name: str
    own: int
    """Bytes of its records."""
    used: float
    blobs: frozenset[BlobRef]
    pinned: bool
    reason: str
    rank: int = 0
    """Lower goes first whatever its use; a run that can be continued ranks above one that has ended."""


@dataclass(frozen=True)
class Found:
    """A file of the store that no unit owns."""

    path: Path
    size: int
    changed: float


@dataclass
class Census:
    """Everything in the store, at one moment."""

    units: list[Unit] = field(default_factory=list)
    blobs: dict[str, Found] = field(default_factory=dict)
    """By sha256."""
    temporaries: list[Found] = field(default_factory=list)
    horizon: float = 0.0
    """What was used after this may be wanted by a live run, or be on its way into a record."""
    busy: float = math.inf
    """When the oldest live run was opened; a blob put after it may be on its way into a second record."""


@dataclass(frozen=True)
class House:
    """Where a sweep works."""

    disk: Disk
    root: Path
    runs: Runs
    ledger: Ledger
    memo: Memo
    now: float


def sweep(house: House, keep_bytes: int | None, *, dry_run: bool) -> SweepReport:
    """See `Store.sweep`."""
    with _alone(house.root / "gate"):
        census = take_census(house)
        dropped, kept = decide(census, keep_bytes, house.now)
        if not dry_run:
            for item in dropped:
                _remove(house, item, census)
    pinned = tuple(f"{u.kind} {u.name}" for u in census.units if u.pinned)
    return SweepReport(dry_run, tuple(dropped), kept, pinned)


@contextlib.contextmanager
def _alone(gate: Path) -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with lock(gate, exclusive=True, wait=False):
                yield
                return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreProblem(
                    "J2K507", "the store is in use by another sweep", "try again later"
                ) from None
            time.sleep(0.01)


def decide(census: Census, keep_bytes: int | None, now: float) -> tuple[list[Dropped], int]:
    """Return what to drop, in order, and the bytes that remain. Pure."""
    dropped = [
        Dropped("temporary", str(t.path), t.size, t.changed, "its writer is gone")
        for t in census.temporaries
        if is_rubbish(t, now)
    ]
    holders: dict[str, int] = {}
    for unit in census.units:
        for blob in unit.blobs:
            holders[blob.sha256] = holders.get(blob.sha256, 0) + 1
    for sha256, found in census.blobs.items():
        if sha256 not in holders and found.changed < census.horizon:
            dropped.append(Dropped("blob", sha256, found.size, found.changed, "nothing refers to it"))
    total = sum(b.size for b in census.blobs.values()) + sum(u.own for u in census.units)
    total -= sum(d.bytes for d in dropped if d.kind == "blob")
    for unit in sorted(census.units, key=lambda u: (u.rank, u.used, u.name)):
        if unit.pinned or keep_bytes is None or total <= keep_bytes:
            continue
        freed = unit.own
        last: list[Dropped] = []
        for blob in sorted(unit.blobs, key=lambda b: b.sha256):
            holders[blob.sha256] -= 1
            lying = census.blobs.get(blob.sha256)
            if not holders[blob.sha256] and lying is not None and lying.changed < census.busy:
                reason = f"only {unit.kind} {unit.name} referred to it"
                last.append(Dropped("blob", blob.sha256, lying.size, lying.changed, reason))
                freed += lying.size
        # The reference goes before what it refers to: a crash in between leaves rubbish, not a torn result.
        dropped.append(Dropped(unit.kind, unit.name, unit.own, unit.used, unit.reason))
        dropped.extend(last)
        total -= freed
    return dropped, total


def is_rubbish(found: Found, now: float) -> bool:
    """Return whether a temporary's writer is known to be dead, or unknown and long silent."""
    name = found.path.name
    owner = disk.owner(name) or process.parse(name)
    alive = owner.alive() if owner else None
    return alive is False or (alive is None and found.changed < now - GRACE)


def take_census(house: House) -> Census:
    """Look at everything; the caller holds the gate, so nothing is used for the first time meanwhile."""
    runs = house.runs.all()
    live = [info for info in runs if info.live]
    busy = min((info.opened for info in live), default=math.inf)
    census = Census(horizon=min(house.now - GRACE, busy), busy=busy)
    census.units += [_run_unit(house, info) for info in runs]
    for path in house.memo.paths():
        entry = house.memo.read(path)
        size, used = own_bytes(path)
        blobs = _references(entry.record) if entry else frozenset()
        pinned = entry is not None and bool(live) and used >= census.horizon
        reason = f"result last used {_age(house.now - used)} ago" if entry else "not to be trusted"
        name = str(path.relative_to(house.root / "memo"))
        census.units.append(Unit("memo", name, size, used, blobs, pinned, reason, rank=0 if entry else -1))
    for path in _files(house.root / "blobs"):
        size, changed = _measure(path)
        if not path.name.startswith(disk.TEMPORARY):
            census.blobs[path.name] = Found(path, size, changed)
    census.temporaries += [*_temporaries(house.root), *_old_news(house)]
    return census


def _run_unit(house: House, info: RunInfo) -> Unit:
    records: list[Record] = list(house.ledger.records(info.id).values())
    refs = frozenset(blob for record in records for blob in _references(record))
    if info.plan is not None:
        refs |= {info.plan}
    size = sum(_measure(p)[0] for p in _files(house.root / "runs" / info.id))
    ended = info.state in ("done", "cancelled")
    reason = f"{info.state} run, last touched {_age(house.now - info.updated)} ago"
    if not ended:
        reason += "; it can then no longer be continued"
    return Unit("run", info.id, size, info.updated, refs, info.live, reason, rank=0 if ended else 1)


def _references(record: Record) -> frozenset[BlobRef]:
    try:
        return frozenset(blobs_of(record))
    except ValueError:
        return frozenset()


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def _files(folder: Path) -> Iterator[Path]:
    for top, _, names in os.walk(folder):
        for name in sorted(names):
            yield Path(top, name)


def _measure(path: Path) -> tuple[int, float]:
    """Return bytes and the time of the last change; zeros for what is gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0, 0.0
    return found.st_size, found.st_mtime


def _temporaries(root: Path) -> Iterator[Found]:
    """Yield half-written files, folders of runs that were never finished making, and staging folders."""
    staged = root / "staging"
    for top, folders, names in os.walk(root):
        here = Path(top)
        for name in sorted(folders):
            if here == staged or name.startswith(disk.TEMPORARY):
                measured = [_measure(p) for p in _files(here / name)]
                newest = max([_measure(here / name)[1], *(changed for _, changed in measured)])
                yield Found(here / name, sum(size for size, _ in measured), newest)
        folders[:] = [f for f in folders if here != staged and not f.startswith(disk.TEMPORARY)]
        for name in sorted(names):
            if name.startswith(disk.TEMPORARY):
                yield Found(here / name, *_measure(here / name))


def _old_news(house: House) -> Iterator[Found]:
    """Yield what other boots left: their checked digests, and word of processes long not heard of."""
    for path in (house.root / "verified").iterdir():
        if path.name != process.BOOT and not path.name.startswith(disk.TEMPORARY):
            yield Found(path, *_measure(path))
    for path in (house.root / "users").iterdir():
        user = process.parse(path.name)
        size, changed = _measure(path)
        # Word of a dead process of this boot is for the next who opens the store.
        if changed < house.now - STALE and (user is None or user.alive() is None):
            yield Found(path, size, changed)


def _remove(house: House, item: Dropped, census: Census) -> None:
    if item.kind == "blob":
        discard(house.disk, census.blobs[item.name].path)
    elif item.kind == "memo":
        house.memo.drop(house.root / "memo" / item.name)
    elif item.kind == "temporary":
        path = Path(item.name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            discard(house.disk, path)
    else:
        with house.runs.claimed(item.name) as ours:
            if ours:
                # Out of sight first: half a run must not be taken for a run.
                path = house.root / "runs" / item.name
                gone = disk.temporary(path.parent)
                house.disk.rename(path, gone)
                shutil.rmtree(gone, ignore_errors=True)


def usage(house: House, cap_bytes: int | None) -> Usage:
    """See `Store.usage`."""
    blobs = [_measure(p)[0] for p in _files(house.root / "blobs") if not p.name.startswith(disk.TEMPORARY)]
    records: dict[tuple[int, int], int] = {}
    for part in ("runs", "memo", "profile"):
        for path in _files(house.root / part):
            with contextlib.suppress(FileNotFoundError):
                found = path.lstat()
                # By inode: a remembered record has two names.
                records[found.st_dev, found.st_ino] = found.st_size
    temporary = sum(t.size for t in _temporaries(house.root))
    return Usage(
        blobs=len(blobs),
        blob_bytes=sum(blobs),
        record_bytes=sum(records.values()),
        temporary_bytes=temporary,
        runs=house.runs.count(),
        memos=sum(1 for _ in house.memo.paths()),
        cap_bytes=cap_bytes,
    )
