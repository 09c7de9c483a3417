"""Mark and sweep in a bucket, by the rules of `sweep`; only while nobody else holds a run in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.errors import StoreProblem

from . import BlobRef, Dropped, Record, RunInfo, SweepReport, Usage
from .bucket import Bucket
from .s3blobs import Blobs, put_at
from .s3runs import Runs
from .slots import blobs_of
from .sweep import GRACE, Census, Found, Unit, decide
from .trust import Key, NotTrustedError

LOOKERS = 8
"""Blobs looked at at once."""


@dataclass(frozen=True)
class House:
    """Where a sweep works."""

    bucket: Bucket
    key: Key
    runs: Runs
    blobs: Blobs
    ignored: dict[str, str]
    now: float


def sweep(house: House, keep_bytes: int | None, *, dry_run: bool) -> SweepReport:
    """See `Store.sweep`. Raises StoreProblem (J2K507) while another process holds a run: no lock keeps it out."""
    infos = house.runs.all()
    others = [info.id for info in infos if info.live and not house.runs.holds(info.id)]
    if others:
        raise StoreProblem("J2K507", f"the store is in use by run {others[0]}", "try again when it has ended")
    census = take_census(house, infos)
    dropped, kept = decide(census, keep_bytes, house.now)
    for item in () if dry_run else dropped:
        _remove(house, item)
    return SweepReport(
        dry_run, tuple(dropped), kept, tuple(f"{u.kind} {u.name}" for u in census.units if u.pinned)
    )


def take_census(house: House, infos: tuple[RunInfo, ...]) -> Census:
    """Look at everything."""
    busy = min((info.opened for info in infos if info.live), default=math.inf)
    census = Census(horizon=min(house.now - GRACE, busy), busy=busy)
    sizes: dict[str, int] = {}
    for name, size in house.bucket.names("runs/"):
        run = name.split("/")[1]
        sizes[run] = sizes.get(run, 0) + size
    for info in infos:
        records = list(house.runs.journal(info.id).known().slots.values())
        refs = frozenset(blob for record in records for blob in _references(record))
        refs |= {info.plan} if info.plan else frozenset()
        ended = info.state in ("done", "cancelled")
        rank, own = (0 if ended else 1), sizes.get(info.id, 0)
        reason = f"{info.state} run" + ("" if ended else "; it can then no longer be continued")
        census.units.append(Unit("run", info.id, own, info.updated, refs, info.live, reason, rank))
    for name, size in house.bucket.names("memo/"):
        body = memo(house.bucket, house.key, name, house.ignored)
        used = float(body["used"]) if body else 0.0
        blobs = frozenset(_references(body["record"])) if body else frozenset()
        pinned = body is not None and busy < math.inf and used >= census.horizon
        reason = "a result" if body else "not to be trusted"
        census.units.append(Unit("memo", name, size, used, blobs, pinned, reason, 0 if body else -1))
    _count_blobs(house, census)
    return census


def _count_blobs(house: House, census: Census) -> None:
    found = list(house.bucket.names("blobs/"))
    with ThreadPoolExecutor(LOOKERS) as pool:
        seen = pool.map(house.bucket.head, [name for name, _ in found])
    for (name, size), reply in zip(found, seen):
        if reply is not None:
            census.blobs[name.rpartition("/")[2]] = Found(Path(name), size, put_at(reply.headers))


def _references(record: Record) -> Iterator[BlobRef]:
    try:
        yield from list(blobs_of(record))
    except ValueError:
        return


def memo(bucket: Bucket, key: Key, name: str, ignored: dict[str, str]) -> Any:
    """Return what is remembered there; None if it is gone, or not to be trusted."""
    text = bucket.get(name)
    try:
        return None if text is None else key.unseal(name, text)
    except NotTrustedError as error:
        ignored[name] = str(error)
        return None


def _remove(house: House, item: Dropped) -> None:
    if item.kind == "blob":
        house.blobs.forget(item.name)
    elif item.kind == "memo":
        house.bucket.delete(item.name)
    else:
        house.runs.drop(item.name)


def usage(bucket: Bucket, cap_bytes: int | None) -> Usage:
    """See `Store.usage`."""
    blobs = [size for _, size in bucket.names("blobs/")]
    runs, memos = list(bucket.names("runs/")), list(bucket.names("memo/"))
    profile = sum(size for _, size in bucket.names("profile/"))
    return Usage(
        blobs=len(blobs),
        blob_bytes=sum(blobs),
        record_bytes=sum(size for _, size in runs) + sum(size for _, size in memos) + profile,
        temporary_bytes=0,
        runs=len({name.split("/")[1] for name, _ in runs}),
        memos=len(memos),
        cap_bytes=cap_bytes,
    )
