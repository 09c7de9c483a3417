"""What every store promises, whatever it keeps its things in."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.buckets import S3, served

from jup2kub.engine.server.storeapi import StoreApi
from jup2kub.engine.server.web import Server, Site
from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts
from jup2kub.store import BlobRef, Missing, RunKey, Slot, Store
from jup2kub.store.files import FileStore
from jup2kub.store.link import Direct, Link
from jup2kub.store.memory import MemoryStore
from jup2kub.store.remote import RemoteStore
from jup2kub.store.s3 import S3Store

KEY = RunKey("/home/ada/analysis.ipynb", "c0de", "9a7a")
MEMO = "m" * 64


class Clock:
    """Time that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with served() as server:
        yield server


@pytest.fixture(params=["files", "memory", "remote", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    if request.param == "s3":
        bucket = request.getfixturevalue("s3").bucket(f"deep/{tmp_path.name}")
        with S3Store(bucket, tmp_path / "cache", clock=clock) as made_there:
            yield made_there
        return
    if request.param == "remote":
        with contextlib.closing(FileStore(tmp_path / "store", clock=clock, durable=False)) as behind:
            server = Server(Site(StoreApi(behind), "secret")).begin()
            transport = Direct(server.url)
            yield RemoteStore(Link(transport, "secret", patience=1.0), tmp_path / "agent")
            transport.close()
            server.close()
        return
    made: Store = (
        FileStore(tmp_path / "store", clock=clock, durable=False)
        if request.param == "files"
        else MemoryStore(clock=clock)
    )
    yield made
    made.close()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(store: Store, data: bytes) -> dict[str, object]:
    return {"sha256": store.put_blob(data), "bytes": len(data)}


def commit(store: Store, run: str, data: bytes, step: str = "s1", status: str = "ok") -> Slot:
    slot = Slot(run, step)
    value = {"names": ["x"], "cells": [], **keep(store, data)}
    assert store.commit(slot, {"status": status, "values": [value], "files": {"gone.txt": None}}).won
    return slot


# blobs


def test_a_blob_comes_back_as_it_was(store: Store) -> None:
    for data in (b"", b"x", b"0123456789" * 300_000):
        assert store.put_blob(data) == store.put_blob(data) == sha(data)
        assert store.has_blob(sha(data), len(data))
        assert store.blob_path(sha(data), len(data)).read_bytes() == data
        assert store.read_blob(sha(data)) == store.read_blob(sha(data), len(data)) == data


def test_an_unknown_blob_or_one_of_another_size_is_missing(store: Store) -> None:
    digest = store.put_blob(b"abc")
    for wanted, size in ((sha(b"other"), 5), (digest, 4)):
        assert not store.has_blob(wanted, size)
        with pytest.raises(Missing) as caught:
            store.blob_path(wanted, size)
        assert caught.value.code == "J2K510"
        with pytest.raises(Missing):
            store.read_blob(wanted, size)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "ab"])
def test_what_is_no_digest_names_no_blob(store: Store, name: str) -> None:
    with pytest.raises(StoreProblem):
        store.blob_path(name, 1)


def test_a_run_has_a_private_folder_for_unfinished_work_and_a_secret_of_its_own(store: Store) -> None:
    first, second = (store.open_run(RunKey("/nb.ipynb", source, "p")).id for source in ("a", "b"))
    folder, secret = store.workshop(first)
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert store.workshop(first) == (folder, secret)
    other, another = store.workshop(second)
    assert folder != other
    assert secret != another


def test_a_staged_file_is_adopted(store: Store) -> None:
    folder = store.staging()
    assert folder != store.staging()
    for number, trusted in enumerate((True, False)):
        data = b"value %d" % number
        path = folder / f"{number}.bin"
        path.write_bytes(data)
        assert store.adopt_blob(path, sha256=sha(data), size=len(data), trusted=trusted) == sha(data)
        assert not path.exists()
        assert store.read_blob(sha(data)) == data


def test_a_file_from_elsewhere_is_adopted_and_digested(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.npy").write_bytes(b"weights")
    assert store.adopt_blob(tmp_path / "model.npy") == sha(b"weights")
    assert store.has_blob(sha(b"weights"), 7)


def test_a_file_that_is_not_what_its_writer_said_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_bytes(b"torn")
    for wrong in (
        {"sha256": sha(b"whole")},
        {"size": 5},
        {"sha256": sha(b"whole!"), "size": 6, "trusted": True},
    ):
        with pytest.raises(StoreProblem) as caught:
            store.adopt_blob(path, **wrong)  # type: ignore[arg-type]
        assert caught.value.code == "J2K511"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(StoreProblem):
        store.adopt_blob(link)
    assert path.read_bytes() == b"torn"


# commits


def test_the_first_commit_wins_and_the_other_learns_it(store: Store) -> None:
    slot = Slot(store.open_run(KEY).id, "s1", 3)
    assert store.record(slot) is None
    assert store.commit(slot, {"status": "ok", "n": 1}) == (True, {"status": "ok", "n": 1})
    assert store.commit(slot, {"status": "ok", "n": 2}) == (False, {"status": "ok", "n": 1})
    assert store.record(slot) == {"status": "ok", "n": 1}


def test_of_many_writers_exactly_one_wins(store: Store) -> None:
    run = store.open_run(KEY).id
    for number in range(5):
        slot, gate, results = Slot(run, "s1", number), threading.Barrier(8), []

        def work(me: int, slot: Slot = slot, gate: threading.Barrier = gate, results: list = results) -> None:
            gate.wait()
            results.append(store.commit(slot, {"status": "ok", "me": me}))

        threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(r.won for r in results) == 1
        assert {r.record["me"] for r in results} == {store.record(slot)["me"]}  # type: ignore[index]


def test_a_record_keeps_every_json_value(store: Store) -> None:
    slot = Slot(store.open_run(KEY).id, "s1")
    record = {
        "status": "ok",
        "text": "é\n\ud800\u2028",
        "numbers": [1, 1.5, 1e300, -0.0],
        "none": None,
        "deep": {"a": [{}]},
    }
    store.commit(slot, record)
    assert store.record(slot) == record


def test_what_is_not_json_is_refused(store: Store) -> None:
    slot = Slot(store.open_run(KEY).id, "s1")
    with pytest.raises(StoreProblem):
        store.commit(slot, {"status": "ok", "value": object()})
    assert store.record(slot) is None


def test_a_commit_of_absent_blobs_is_refused(store: Store) -> None:
    slot = Slot(store.open_run(KEY).id, "s1")
    for record in (
        {"values": [{"sha256": sha(b"a"), "bytes": 1}]},
        {"files": {"a.csv": {"sha256": sha(b"a"), "bytes": 1, "mode": 0o644}}},
        {"blobs": [{"sha256": sha(b"a"), "bytes": 1}]},
    ):
        assert not store.valid(record)
        with pytest.raises(Missing):
            store.commit(slot, record)
    with pytest.raises(StoreProblem):
        store.commit(slot, {"blobs": ["nonsense"]})
    assert not store.valid({"blobs": ["nonsense"]})
    assert store.record(slot) is None


@pytest.mark.parametrize("step", ["s1", "cells 3-7", "a/b", "..", "été.1.0", "x" * 400])
def test_any_text_names_a_step(store: Store, step: str) -> None:
    run = store.open_run(KEY).id
    slots = [Slot(run, step), Slot(run, step, 1), Slot(run, step, 1, 1), Slot(run, step + "'")]
    for number, slot in enumerate(slots):
        assert store.commit(slot, {"status": "ok", "n": number}).won
    assert {slot: record["n"] for slot, record in store.records(run).items()} == {
        s: n for n, s in enumerate(slots)
    }
    assert store.latest(run, step, 1) == (slots[2], {"status": "ok", "n": 2})
    assert store.latest(run, "unknown") is None


def test_a_retry_opens_the_next_generation(store: Store) -> None:
    slot = Slot(store.open_run(KEY).id, "s1", 2)
    assert store.next_generation(slot) == slot
    store.commit(slot, {"status": "error"})
    second = store.next_generation(slot)
    assert second == Slot(slot.run, "s1", 2, 1) == store.next_generation(second)
    store.commit(second, {"status": "ok"})
    assert store.latest(slot.run, "s1", 2) == (second, {"status": "ok"})


def test_an_unknown_run_takes_no_commits(store: Store) -> None:
    for act in (
        lambda: store.commit(Slot("nobody", "s"), {"status": "ok"}),
        lambda: store.cancel("nobody", {}),
        lambda: store.records("nobody"),
    ):
        with pytest.raises(StoreProblem) as caught:
            act()
        assert caught.value.code == "J2K512"


def test_intents_are_exclusive(store: Store) -> None:
    run = store.open_run(KEY).id
    assert store.intents(run) == {}
    assert store.intent(run, 0, 9, {"attempt": 1}).won
    assert store.intent(run, 0, 9, {"attempt": 2}) == (False, {"attempt": 1})
    assert store.intent(run, 1, 9, {"attempt": 2}).won
    assert store.intents(run) == {(0, 9): {"attempt": 1}, (1, 9): {"attempt": 2}}


def test_main_epochs_are_exclusive_and_the_highest_is_seen(store: Store) -> None:
    run = store.open_run(KEY).id
    assert store.last_epoch(run) == 0
    assert store.main_epoch(run, 1, {"pid": 1})
    assert not store.main_epoch(run, 1, {"pid": 2})
    assert store.main_epoch(run, 10, {"pid": 2})
    assert store.main_epoch(run, 9, {"pid": 2})
    assert store.last_epoch(run) == 10


def test_nothing_is_committed_after_a_cancellation(store: Store) -> None:
    run = store.open_run(KEY).id
    store.commit(Slot(run, "early"), {"status": "ok"})
    assert store.cancelled(run) is None
    assert store.cancel(run, {"by": "ada"})
    assert not store.cancel(run, {"by": "bob"})
    for commit_ in (
        store.commit(Slot(run, "late"), {"status": "ok"}),
        store.intent(run, 0, 1, {}),
    ):
        assert commit_ == (False, {"by": "ada", "status": "cancelled"})
    assert not store.main_epoch(run, 1, {})
    assert store.record(Slot(run, "late")) is None
    assert store.record(Slot(run, "early")) == {"status": "ok"}
    assert store.commit(Slot(run, "early"), {"status": "ok", "again": 1}) == (False, {"status": "ok"})
    assert list(store.records(run)) == [Slot(run, "early")]
    assert store.cancelled(run) == {"by": "ada", "status": "cancelled"}
    assert [r.state for r in store.runs()] == ["cancelled"]


# what outlives a run


def test_what_was_remembered_is_recalled_if_its_observations_hold(store: Store) -> None:
    slot = commit(store, store.open_run(KEY).id, b"result")
    assert store.recall(MEMO, lambda observed: True) is None
    store.remember(MEMO, slot, {"files": {"data.csv": "d1"}})
    seen: list[object] = []
    found = store.recall(MEMO, lambda observed: not seen.append(observed))
    assert found == store.record(slot)
    assert seen == [{"files": {"data.csv": "d1"}}]
    assert store.recall(MEMO, lambda observed: False) is None
    assert store.recall("n" * 64, lambda observed: True) is None


def test_the_newest_fitting_record_is_recalled(store: Store) -> None:
    run = store.open_run(KEY).id
    for number in range(3):
        store.remember(MEMO, commit(store, run, b"%d" % number, f"s{number}"), {"n": number})
    found = store.recall(MEMO, lambda observed: True)
    assert found is not None
    assert found["values"][0]["sha256"] == sha(b"2")
    found = store.recall(MEMO, lambda observed: observed["n"] < 2)
    assert found is not None
    assert found["values"][0]["sha256"] == sha(b"1")


def test_a_failure_is_never_recalled(store: Store) -> None:
    slot = commit(store, store.open_run(KEY).id, b"partial", status="error")
    store.remember(MEMO, slot, {})
    assert store.recall(MEMO, lambda observed: True) is None


def test_only_what_was_committed_is_remembered(store: Store) -> None:
    with pytest.raises(StoreProblem):
        store.remember(MEMO, Slot(store.open_run(KEY).id, "never"), {})
    assert store.recall(MEMO, lambda observed: True) is None


def test_facts_are_learned_and_merged(store: Store) -> None:
    assert store.profile().get("cell-1") is None
    store.learn("cell-1", Facts(bound=frozenset("a"), seconds=4.0, loops={"3": 1.0}))
    store.learn("cell-1", Facts(bound=frozenset("b"), seconds=2.0))
    store.learn("cell-2", Facts(mutated=frozenset({"df"}), mispredicted=True))
    store.learn("cell-2", Facts(unchanged=frozenset({"df"})))
    profile = store.profile()
    assert profile["cell-1"].bound == {"b"}
    assert profile["cell-1"].seconds == pytest.approx(3.0)
    assert profile["cell-2"] == Facts(mutated=frozenset({"df"}), mispredicted=True)
    assert sorted(profile) == ["cell-1", "cell-2"]
    assert len(profile) == 2


# runs


def test_an_unfinished_run_is_continued(store: Store) -> None:
    first = store.open_run(KEY)
    assert (first.state, first.live, first.resumed, len(first.id)) == ("running", True, False, 26)
    plan = BlobRef(store.put_blob(b"{}"), 2)
    assert store.update_run(first.id, plan=plan).plan == plan
    store.close_run(first.id, "interrupted")
    again = store.open_run(KEY)
    assert (again.id, again.resumed, again.plan, again.state) == (first.id, True, plan, "running")
    store.close_run(first.id, "done")
    assert store.open_run(KEY).id != first.id


@pytest.mark.parametrize(
    "other",
    [
        RunKey("/b.ipynb", "c0de", "9a7a"),
        RunKey(KEY.notebook, "new", "9a7a"),
        RunKey(KEY.notebook, "c0de", ""),
    ],
)
def test_other_work_is_another_run(store: Store, other: RunKey) -> None:
    first = store.open_run(KEY)
    store.close_run(first.id, "interrupted")
    assert store.open_run(other).id != first.id
    assert store.open_run(KEY).id == first.id


def test_two_at_once_do_not_share_a_run(store: Store) -> None:
    first, second = store.open_run(KEY), store.open_run(KEY)
    assert first.id != second.id
    assert [(r.id, r.live) for r in store.runs()] == [(second.id, True), (first.id, True)]


def test_a_fresh_run_continues_nothing(store: Store) -> None:
    first = store.open_run(KEY)
    store.close_run(first.id, "interrupted")
    assert not store.open_run(KEY, fresh=True).resumed


def test_a_cancelled_run_is_not_continued(store: Store) -> None:
    run = store.open_run(KEY).id
    store.cancel(run, {})
    assert store.close_run(run, "interrupted").state == "cancelled"
    assert store.open_run(KEY).id != run


def test_only_its_holder_writes_a_run(store: Store) -> None:
    run = store.open_run(KEY).id
    with pytest.raises(StoreProblem):
        store.close_run(run, "running")
    store.close_run(run, "done")
    with pytest.raises(StoreProblem):
        store.update_run(run)


# housekeeping


def test_a_sweep_keeps_what_a_live_run_refers_to(store: Store, clock: Clock) -> None:
    run = store.open_run(KEY).id
    slot = commit(store, run, b"wanted")
    clock.now += 1e6
    report = store.sweep(0)
    assert f"run {run}" in report.pinned
    assert report.dropped == ()
    assert store.valid(store.record(slot) or {})


def test_a_sweep_drops_the_least_recently_used_first(store: Store, clock: Clock) -> None:
    keys = [letter * 64 for letter in "abc"]
    for number, key in enumerate(keys):
        run = store.open_run(RunKey(f"/{number}.ipynb", "c0de")).id
        store.remember(key, commit(store, run, bytes([number]) * 100_000), {})
        store.close_run(run, "done")
        clock.now += 1e5
    assert store.recall(keys[0], lambda observed: True)
    before = store.usage()
    assert (before.blobs, before.blob_bytes, before.runs, before.memos) == (3, 300_000, 3, 3)
    dry = store.sweep(250_000, dry_run=True)
    assert store.usage() == before
    assert dry.dry_run
    report = store.sweep(250_000)
    assert report.dropped == dry.dropped
    assert report.freed >= 50_000
    assert all(d.reason for d in report.dropped)
    held = [store.recall(key, lambda observed: True) is not None for key in keys]
    assert held == [True, False, True]
    store.sweep(0)
    after = store.usage()
    assert (after.blobs, after.runs, after.memos, after.bytes) == (0, 0, 0, after.record_bytes)
    assert store.runs() == ()


def test_a_sweep_without_a_cap_drops_only_rubbish(store: Store, clock: Clock) -> None:
    run = store.open_run(KEY).id
    slot = commit(store, run, b"result")
    store.put_blob(b"rubbish")
    store.close_run(run, "done")
    assert store.sweep().dropped == ()
    clock.now += 7200
    assert [(d.kind, d.name) for d in store.sweep().dropped] == [("blob", sha(b"rubbish"))]
    assert store.valid(store.record(slot) or {})


def test_nothing_met_here_was_distrusted(store: Store) -> None:
    commit(store, store.open_run(KEY).id, b"x")
    assert store.ignored() == {}
