"""The cache of layers is kept to a size: the least recently used goes first, never what a build may count on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jup2kub.images import layer, trim
from jup2kub.images.blobs import FRESH, Blob, Blobs
from jup2kub.images.tree import file

DAY = 86400.0


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


def made(blobs: Blobs, name: str, used: float) -> layer.Layer:
    """A layer of about 10 kB that was used so many seconds ago, with its record."""
    found = layer.write(blobs, [file(name, os.urandom(10_000))], "gzip", f"layer {name}")
    blobs.remember(found.diff_id.removeprefix("sha256:"), found.to_record())
    when = time.time() - used
    os.utime(blobs.path(found.blob.digest), (when, when))
    return found


def there(blobs: Blobs, some: list[layer.Layer]) -> list[bool]:
    return [blobs.path(x.blob.digest).exists() for x in some]


def test_the_least_recently_used_goes_first(blobs: Blobs) -> None:
    some = [made(blobs, name, used) for name, used in (("a", 3 * DAY), ("b", 5 * DAY), ("c", DAY))]
    report = trim.trim(blobs, 25_000, time.time())
    assert [d.name for d in report.dropped] == ["layer b"]
    assert there(blobs, some) == [True, False, True]
    assert report.kept_bytes == sum(p.stat().st_size for p in blobs.folder.iterdir()) <= 25_000
    assert report.freed == some[1].blob.size
    assert trim.trim(blobs, 25_000, time.time()).dropped == ()


def test_a_use_puts_a_layer_at_the_end_of_the_queue_and_leaves_its_time_of_writing(blobs: Blobs) -> None:
    some = [made(blobs, name, used) for name, used in (("a", 3 * DAY), ("b", 5 * DAY))]
    before = blobs.path(some[1].blob.digest).stat().st_mtime_ns
    assert blobs.has(some[1].blob)
    assert blobs.path(some[1].blob.digest).stat().st_mtime_ns == before
    assert [d.name for d in trim.trim(blobs, 15_000, time.time()).dropped] == ["layer a"]


def test_records_go_with_what_they_speak_of(blobs: Blobs) -> None:
    some = [made(blobs, name, used) for name, used in (("a", 3 * DAY), ("b", DAY))]
    blobs.remember("ab", {"images": [{"layers": [x.to_record() for x in some]}]})
    blobs.remember("cd", {"path": "lab/study"})
    trim.trim(blobs, 15_000, time.time())
    assert blobs.record(some[0].diff_id.removeprefix("sha256:")) is None
    assert blobs.record("ab") is None
    assert blobs.record("cd") == {"path": "lab/study"}
    assert blobs.record(some[1].diff_id.removeprefix("sha256:")) is not None


def test_what_a_build_may_count_on_stays_whatever_the_size(blobs: Blobs) -> None:
    some = [made(blobs, "a", FRESH * 1.5), made(blobs, "b", FRESH * 2.5)]
    assert [d.name for d in trim.trim(blobs, 0, time.time()).dropped] == ["layer b"]
    assert there(blobs, some) == [True, False]


def test_a_dry_run_says_the_same_and_does_nothing(blobs: Blobs) -> None:
    some = [made(blobs, name, used) for name, used in (("a", 3 * DAY), ("b", 5 * DAY))]
    said = trim.trim(blobs, 0, time.time(), dry_run=True)
    assert there(blobs, some) == [True, True]
    assert trim.trim(blobs, 0, time.time()).dropped == said.dropped
    assert there(blobs, some) == [False, False]


def test_what_builds_that_ended_have_left_is_taken_away(blobs: Blobs) -> None:
    old, young = blobs.folder / ".new-old", blobs.folder / ".new-young"
    for path, used in ((old, 2 * DAY), (young, 600.0)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - used, time.time() - used))
    assert [d.kind for d in trim.trim(blobs, 1 << 40, time.time()).dropped] == ["temporary"]
    assert (old.exists(), young.exists()) == (False, True)


def test_a_blob_that_is_not_there_is_not_used(blobs: Blobs) -> None:
    assert not blobs.has(Blob("sha256:" + "0" * 64, 1))
