"""Whatever happens to a writer, what is read afterwards is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts
from jup2kub.store import BlobRef, RunKey, Slot
from jup2kub.store.disk import TEMPORARY, Disk
from jup2kub.store.files import FileStore
from jup2kub.store.sweep import Census, Found, Unit, decide

KEY = RunKey("/home/ada/a.ipynb", "c0de")
MEMO = "k" * 64
FACTS = Facts(mutated=frozenset({"df"}), mispredicted=True)
VALUES = [b"value %d " % n * 20 for n in range(3)]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process runs on."""


class Failing(Disk):
    """Fails at one system call, in a write after some bytes of it; a killed process stays dead."""

    def __init__(self, at: int, *, after: int = 0, full: bool = False) -> None:
        super().__init__(durable=False)
        self.at, self.after, self.full, self.calls = at, after, full, 0

    @property
    def dead(self) -> bool:
        return self.calls >= self.at and not self.full

    def fails(self) -> bool:
        self.calls += 1
        return self.calls == self.at or (self.calls > self.at and not self.full)

    def fail(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device") if self.full else Killed

    def write(self, fd: int, data: memoryview) -> int:
        if self.fails():
            os.write(fd, data[: self.after] if self.calls == self.at else b"")
            self.fail()
        return super().write(fd, data)


def _wrapped(name: str) -> Callable[..., Any]:
    real = getattr(Disk, name)

    def call(self: Failing, *args: Any) -> Any:
        if name == "unlink" and self.dead:
            return None  # what unwinds after the stroke; in a killed process nothing does
        if self.fails() and not (self.full and name in ("unlink", "rmdir", "sync")):
            self.fail()
        return real(self, *args)

    return call


for _name in ("create", "sync", "link", "rename", "unlink", "mkdir", "rmdir", "chmod", "touch", "append"):
    setattr(Failing, _name, _wrapped(_name))


def record_of(data: bytes) -> dict[str, Any]:
    value = {"names": ["x"], "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "cells": []}
    return {"status": "ok", "values": [value]}


def work(store: FileStore) -> str:
    """Do a bit of everything."""
    run = store.open_run(KEY).id
    store.main_epoch(run, store.last_epoch(run) + 1, {})
    for number, data in enumerate(VALUES):
        slot = Slot(run, f"s{number}")
        if number == 1:
            path = store.staging() / "x"
            path.write_bytes(data)
            store.adopt_blob(path, sha256=hashlib.sha256(data).hexdigest(), size=len(data), trusted=True)
        else:
            store.put_blob(data)
        store.commit(slot, record_of(data))
        store.remember(MEMO, slot, {"n": number})
    store.put_blob(VALUES[0])
    store.intent(run, 0, 4, {"cell": 4})
    store.learn("cell-4", FACTS)
    store.recall(MEMO, lambda observed: True)
    store.update_run(run, plan=BlobRef(hashlib.sha256(VALUES[0]).hexdigest(), len(VALUES[0])))
    store.close_run(run, "interrupted")
    return run


def look(store: FileStore, *, swept: bool = False) -> None:
    """Assert that all that can be read is what `work` wrote."""
    for data in VALUES:
        digest = hashlib.sha256(data).hexdigest()
        if store.has_blob(digest, len(data)):
            assert store.blob_path(digest, len(data)).read_bytes() == data
    for info in store.runs():
        assert info.key == KEY
        for slot, record in store.records(info.id).items():
            assert record == record_of(VALUES[int(slot.step[1:])])
            assert store.valid(record) or swept
        assert all(record == {"cell": 4} for record in store.intents(info.id).values())
    assert store.profile().get("cell-4") in (None, FACTS)
    for number, data in enumerate(VALUES):
        found = store.recall(MEMO, lambda observed, n=number: observed["n"] == n)  # type: ignore[misc]
        assert found in (None, record_of(data))


def finish(root: Path) -> None:
    """Assert that a writer that comes after the failed one finds its way."""
    with FileStore(root, durable=False) as store:
        look(store)
        run = work(store)
        look(store)
        assert len(store.records(run)) == len(VALUES)
        assert all(store.valid(record) for record in store.records(run).values())
        assert store.ignored() == {}


def calls_of(act: Callable[[Disk], object]) -> int:
    disk = Failing(10**9)
    act(disk)
    return disk.calls


def test_a_writer_killed_at_any_system_call(tmp_path: Path) -> None:
    def act(disk: Disk, root: Path) -> None:
        store = FileStore(root, disk=disk)
        try:
            work(store)
        finally:
            store.close()  # the operating system lets go of a dead process's locks

    total = calls_of(lambda disk: act(disk, tmp_path / "whole"))
    assert total > 80
    for at, after in itertools.product(range(1, total + 1), (0, 30)):
        root = tmp_path / f"{at}-{after}"
        with contextlib.suppress(Killed):
            act(Failing(at, after=after), root)
        finish(root)


def test_a_disk_that_fills_up_at_any_system_call(tmp_path: Path) -> None:
    def act(disk: Disk, root: Path) -> None:
        with FileStore(root, disk=disk) as store:
            work(store)

    total = calls_of(lambda disk: act(disk, tmp_path / "whole"))
    failed = 0
    for at in range(1, total + 1):
        root = tmp_path / str(at)
        caught: list[StoreProblem] = []
        try:
            act(Failing(at, after=7, full=True), root)
        except StoreProblem as e:
            caught.append(e)
        assert all(e.code == "J2K503" and e.hint for e in caught)
        failed += len(caught)
        left = [p for p in root.rglob(TEMPORARY + "*") if p.is_file()]
        # Nothing half-written stays, but the folder of a run that could not be begun.
        assert all((root / "runs") == p.parent for p in root.rglob(TEMPORARY + "*")), left
        finish(root)
    assert failed > total / 2


def test_a_sweep_killed_at_any_system_call(tmp_path: Path) -> None:
    def prepare(root: Path) -> None:
        with FileStore(root, durable=False) as store:
            work(store)

    def act(disk: Disk, root: Path) -> None:
        FileStore(root, disk=disk, clock=lambda: 4e9).sweep(0)

    prepare(tmp_path / "whole")
    total = calls_of(lambda disk: act(disk, tmp_path / "whole"))
    for at in range(1, total + 1):
        root = tmp_path / str(at)
        prepare(root)
        with contextlib.suppress(Killed):
            act(Failing(at), root)
        look(FileStore(root, durable=False), swept=True)
        finish(root)


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStore]:
    with FileStore(tmp_path_factory.mktemp("store"), durable=False) as store:
        work(store)
        yield store


def test_every_file_cut_at_every_length(worked: FileStore) -> None:
    skipped = ("key", "gate", "store.json", "lock")
    files = [p for p in worked.root.rglob("*") if p.is_file() and p.name not in skipped]
    assert len(files) > 12
    for path in files:
        whole = path.read_bytes()
        path.chmod(0o600)
        step = max(1, len(whole) // 60)
        for length in [*range(0, len(whole), step), len(whole) - 1]:
            path.write_bytes(whole[: max(length, 0)])
            look(worked, swept=True)
        path.write_bytes(whole)
    look(worked)


def test_a_blob_altered_in_place_is_absent(worked: FileStore) -> None:
    for data in VALUES:
        digest = hashlib.sha256(data).hexdigest()
        path = worked.blob_path(digest, len(data))
        path.chmod(0o600)
        path.write_bytes(b"!" + data[1:])
        assert not worked.has_blob(digest, len(data))
        assert worked.put_blob(data) == digest
        assert worked.blob_path(digest, len(data)).read_bytes() == data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_record_with_one_altered_bit_is_ignored(worked: FileStore, place: int, bit: int) -> None:
    run = worked.runs()[0].id
    path = worked.root / "runs" / run / "ledger" / "s.s0.0.0.json"
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[place % len(whole)] ^= 1 << bit
    try:
        path.write_bytes(altered)
        assert worked.record(Slot(run, "s0")) is None
        assert f"runs/{run}/s.s0.0.0.json" in worked.ignored()
    finally:
        path.write_bytes(whole)


def _race(root: Path, run: str, me: int, barrier: Barrier) -> None:
    with FileStore(root, durable=False) as store:
        barrier.wait()
        won = [n for n in range(40) if store.commit(Slot(run, "s", n), {"status": "ok", "me": me}).won]
        for number in range(10):
            store.learn("shared", Facts(bound=frozenset({f"x{me}-{number}"}), mispredicted=True))
        (root.parent / f"won-{me}.json").write_text(json.dumps(won))


def test_of_several_processes_exactly_one_wins_each_slot(tmp_path: Path) -> None:
    root, count = tmp_path / "store", 3
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    with FileStore(root, durable=False) as store:
        run = store.open_run(KEY).id
        workers = [context.Process(target=_race, args=(root, run, me, barrier)) for me in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
        won = {me: json.loads((tmp_path / f"won-{me}.json").read_text()) for me in range(count)}
        assert sorted(n for numbers in won.values() for n in numbers) == list(range(40))
        for me, numbers in won.items():
            assert all((store.record(Slot(run, "s", n)) or {})["me"] == me for n in numbers)
        assert store.profile()["shared"].bound == {f"x{me}-{n}" for me in range(count) for n in range(10)}
        assert list(root.rglob(TEMPORARY + "*")) == []


UNITS = st.lists(
    st.builds(
        Unit,
        kind=st.sampled_from(["run", "memo"]),
        name=st.uuids().map(str),
        own=st.integers(0, 50),
        used=st.floats(0, 1e6),
        blobs=st.frozensets(st.sampled_from([BlobRef(letter, 10) for letter in "abcdef"])),
        pinned=st.booleans(),
        reason=st.just("old"),
        rank=st.integers(-1, 1),
    ),
    max_size=8,
)


@given(units=UNITS, present=st.frozensets(st.sampled_from("abcdefgh")), keep=st.none() | st.integers(0, 200))
def test_a_sweep_never_drops_what_it_keeps_refers_to(
    units: list[Unit], present: frozenset[str], keep: int | None
) -> None:
    blobs = {name: Found(Path(name), 10, 0.0) for name in present}
    dropped, kept = decide(Census(units, blobs, horizon=1.0), keep, now=2.0)
    names = [d.name for d in dropped]
    assert len(names) == len(set(names))
    left = [u for u in units if u.name not in names]
    assert all(u in left for u in units if u.pinned)
    assert not {b.sha256 for u in left for b in u.blobs} & set(names)
    assert kept == sum(10 for n in present if n not in names) + sum(u.own for u in left)
    assert keep is None or kept <= keep or all(u.pinned for u in left)
    assert {"g", "h"} & present <= set(names)
