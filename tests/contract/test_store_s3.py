"""What a bucket alone can do to a store: answers that are lost, uploads that are torn, many machines, no primitive."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.buckets import KEYS, S3, served

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts
from jup2kub.store import Missing, RunKey, Slot, journal, s3runs
from jup2kub.store.bucket import Bucket
from jup2kub.store.s3 import S3Store

KEY = RunKey("/home/ada/analysis.ipynb", "c0de")


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with served() as server:
        yield server


@pytest.fixture
def s3(server: S3) -> Iterator[S3]:
    yield server
    server.before = lambda environ: ""


def opened(s3: S3, tmp_path: Path, who: str = "a", **more: Any) -> S3Store:
    return S3Store(s3.bucket(tmp_path.name, **more), tmp_path / who)


def once(what: str, method: str, part: str) -> Any:
    """Let one request, the first of this method whose path holds `part`, have this fate."""
    left = [what]

    def fate(environ: dict[str, Any]) -> str:
        fits = environ["REQUEST_METHOD"] == method and part in environ["PATH_INFO"]
        return left.pop() if fits and left else ""

    return fate


def test_a_commit_whose_answer_was_lost_is_found_to_have_won(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store:
        run = store.open_run(KEY).id
        s3.before = once("lose", "PUT", f"runs/{run}/0")
        record = {"status": "ok", "n": 1}
        assert store.commit(Slot(run, "s1"), record) == (True, record)
        assert store.commit(Slot(run, "s1"), record) == (False, record)
        with opened(s3, tmp_path, "b") as other:
            assert other.record(Slot(run, "s1")) == record


def test_a_commit_whose_answer_was_lost_is_lost_to_whoever_was_first(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as other:
        run = store.open_run(KEY).id
        assert other.record(Slot(run, "s1")) is None
        assert store.commit(Slot(run, "s1"), {"by": "a"}).won
        s3.before = once("lose", "PUT", f"runs/{run}/0")
        assert other.commit(Slot(run, "s1"), {"by": "b"}) == (False, {"by": "a"})


def test_a_bucket_that_slows_down_is_asked_again(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store:
        run = store.open_run(KEY).id
        s3.before = once("refuse", "PUT", f"runs/{run}/0")
        assert store.commit(Slot(run, "s1"), {}).won
        s3.before = once("refuse", "PUT", "/blobs/")
        assert store.read_blob(store.put_blob(b"value")) == b"value"


def test_a_bucket_that_is_away_is_said_to_be(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path, patience=0.2) as store:
        run = store.open_run(KEY).id
        s3.before = lambda environ: "refuse"
        with pytest.raises(StoreProblem) as caught:
            store.commit(Slot(run, "s1"), {})
        assert caught.value.code == "J2K531"
        s3.before = lambda environ: ""
        assert store.commit(Slot(run, "s1"), {}).won


@pytest.mark.parametrize("machines", [1, 3])
def test_of_many_writers_one_wins_each_slot_and_all_read_it(s3: S3, tmp_path: Path, machines: int) -> None:
    stores = [opened(s3, tmp_path, f"m{number}") for number in range(machines)]
    run = stores[0].open_run(KEY).id
    won: dict[tuple[str, int], list[str]] = {}
    told: list[tuple[Slot, Any]] = []
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        for step in range(5):
            slot = Slot(run, f"s{step}")
            done = stores[number % machines].commit(slot, {"by": number})
            told.append((slot, done.record))
            if done.won:
                won.setdefault((slot.step, 0), []).append(str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [(f"s{step}", 0) for step in range(5)]
    assert all(len(winners) == 1 for winners in won.values())
    for store in stores:
        assert all(store.record(slot) == record for slot, record in told)
        store.close()


def test_who_wakes_up_after_a_cancellation_elsewhere_commits_nothing(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as zombie:
        run = store.open_run(KEY).id
        assert zombie.record(Slot(run, "s1")) is None
        assert store.cancel(run, {"reason": "enough"})
        done = zombie.commit(Slot(run, "s1"), {"status": "ok"})
        assert not done.won
        assert done.record == {"reason": "enough", "status": "cancelled"}
        assert zombie.records(run) == {}


def test_a_torn_upload_makes_no_blob(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store:
        data = b"0123456789" * 1000
        digest = hashlib.sha256(data).hexdigest()
        host, port = s3.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            place = f"/runs/{tmp_path.name}/blobs/{digest[:2]}/{digest}"
            head = f"PUT {place} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n"
            line.sendall(head.encode() + data[:5000])
            line.shutdown(socket.SHUT_WR)
            line.recv(1000)
        assert not store.has_blob(digest, len(data))
        with pytest.raises(Missing):
            store.blob_path(digest, len(data))
        assert store.read_blob(store.put_blob(data)) == data


def test_a_blob_whose_content_was_altered_is_missing_and_made_anew(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as reader:
        digest = store.put_blob(b"right")
        s3.bucket(tmp_path.name).put(f"blobs/{digest[:2]}/{digest}", b"wrong")
        with pytest.raises(Missing):
            reader.blob_path(digest, 5)
        assert not reader.has_blob(digest, 5)
        store.put_blob(b"right")
        assert reader.read_blob(digest) == b"right"


def test_an_entry_that_is_not_sealed_by_this_store_counts_for_nothing(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store:
        run = store.open_run(KEY).id
        s3.bucket(tmp_path.name).put(journal.entry_name(run, 1), b'{"kind":"cancel"}\nforged\n')
        assert store.commit(Slot(run, "s1"), {"n": 1}).won
        assert store.cancelled(run) is None
        assert list(store.ignored()) == [journal.entry_name(run, 1)]


def test_a_bucket_without_conditional_writes_is_refused(s3: S3, tmp_path: Path) -> None:
    s3.before = lambda environ: "deaf"
    with pytest.raises(StoreProblem) as caught:
        opened(s3, tmp_path)
    assert caught.value.code == "J2K501"
    assert "2 of 2 writers" in str(caught.value)
    s3.before = lambda environ: "lack" if "HTTP_IF_NONE_MATCH" in environ else ""
    with pytest.raises(StoreProblem) as caught:
        opened(s3, tmp_path)
    assert caught.value.code == "J2K501"


def test_facts_learned_on_two_machines_are_merged(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as other:
        store.learn("cell-1", Facts(mutated=frozenset({"df"}), mispredicted=True))
        for _ in range(10):
            other.learn("cell-1", Facts(mutated=frozenset({"model"})))
        found = store.profile()["cell-1"]
        assert found.mispredicted
        assert found.mutated == {"df", "model"}


def test_a_run_is_taken_over_only_when_its_holder_is_silent(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as other:
        run = store.open_run(KEY)
        assert [info.live for info in other.runs()] == [True]
        # As of a process that died without a word.
        monkeypatch.setattr(s3runs, "LEASE", 0.0)
        taken = other.open_run(KEY)
        assert (taken.id, taken.resumed) == (run.id, True)
        with pytest.raises(StoreProblem) as caught:
            store.close_run(run.id, "done")
        assert caught.value.code == "J2K512"
        assert other.close_run(run.id, "done").state == "done"


def test_a_run_is_not_taken_from_who_gives_signs_of_life(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3runs, "BEAT", 0.3)
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as other:
        run = store.open_run(KEY).id
        ages = iter([2.0, 3.0, 0.0])
        monkeypatch.setattr(s3runs.Runs, "_age", lambda self, run: next(ages, 0.0))
        assert other.open_run(KEY).id != run


def test_nothing_is_swept_while_another_machine_holds_a_run(s3: S3, tmp_path: Path) -> None:
    with opened(s3, tmp_path) as store, opened(s3, tmp_path, "b") as other:
        store.open_run(KEY)
        with pytest.raises(StoreProblem) as caught:
            other.sweep(0)
        assert caught.value.code == "J2K507"


def test_the_cache_keeps_to_its_size(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jup2kub.store.s3blobs.REST", -1.0)
    with S3Store(s3.bucket(tmp_path.name), tmp_path / "c", cache_bytes=2500) as store:
        names = [store.put_blob(bytes([number]) * 1000) for number in range(5)]
        assert sum(p.stat().st_size for p in (tmp_path / "c" / "blobs").glob("??/*")) <= 2500
        assert [store.read_blob(name)[0] for name in names] == list(range(5))


def test_a_bucket_that_is_not_there_is_said_to_be(s3: S3, tmp_path: Path) -> None:
    with pytest.raises(StoreProblem) as caught:
        S3Store(Bucket("s3://nobody-has-this/x", lambda: KEYS, endpoint=s3.url), tmp_path / "d")
    assert caught.value.code == "J2K532"
    assert "NoSuchBucket" in str(caught.value)
