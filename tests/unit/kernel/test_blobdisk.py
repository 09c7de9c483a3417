"""Files of values past the system's cache: the same bytes, whatever lies where, and whatever the disk refuses."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jup2kub.kernel import blobdisk, blobfile, values

PAGE = blobdisk.PAGE
pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="needs O_DIRECT")


def piece(size: int, shift: int, seed: int) -> tuple[memoryview, int, mmap.mmap]:
    """Return random bytes that lie `shift` after the beginning of a page, with their address and their owner."""
    owner = mmap.mmap(-1, size + 2 * PAGE)
    owner[shift : shift + size] = random.Random(seed).randbytes(size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(owner)) + shift
    return memoryview(owner)[shift : shift + size], address, owner


def written(path: Path, parts: list[tuple[int, int]], **options: bool) -> tuple[bytes, bytes]:
    """Write blocks of (bytes, shift), every second one at an address that is not told; return file and data."""
    writer = blobfile.Writer(str(path), **options)
    places, data, owners = [], [], []
    for number, (size, shift) in enumerate(parts):
        view, address, owner = piece(size, shift, number)
        places.append(writer.block(address if number % 2 == 0 else 0, view))
        data.append(bytes(view))
        owners.append(owner)
    size, digest = writer.finish({"blocks": places})
    found = path.read_bytes()
    assert (len(found), hashlib.sha256(found).hexdigest()) == (size, digest)
    assert blobfile.Reader(str(path)).directory == {"blocks": [list(place) for place in places]}
    return b"".join(found[at : at + length] for at, length in places), b"".join(data)


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(1, 0)],
        [(PAGE, 0), (PAGE, 16), (3 * PAGE, 16), (5 * PAGE + 7, 4000)],
        [(17 << 20, 16), (17 << 20, 3), (100, 5), (17 << 20, 0)],
        [(2 * PAGE - 1, 1), (2 * PAGE, 4095), (2 * PAGE + 1, 64), (1 << 20, 64), ((1 << 20) + 1, 48)],
        [
            (2 << 20, 8),
            (1, 1),
            (PAGE, 16),
            (1, 1),
            (3 * PAGE, 16),
            (9, 9),
            (5 * PAGE + 7, 4000),
            (2 * PAGE, 1),
        ],
    ],
    ids=["nothing", "a byte", "pages", "large", "edges", "pages after much"],
)
def test_the_bytes_are_those_that_were_given(
    parts: list[tuple[int, int]], threads: bool, tmp_path: Path
) -> None:
    found, given = written(tmp_path / "direct", parts, direct=True, threads=threads)
    assert found == given
    assert written(tmp_path / "cached", parts, threads=threads)[0] == given


def test_large_arrays_are_written_from_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied on the way are the ends of pages and the directory, not the array."""
    copied: list[int] = []
    gather = blobdisk.Direct._gather

    def counted(self: blobdisk.Direct, part: memoryview) -> None:
        copied.append(len(part))
        gather(self, part)

    monkeypatch.setattr(blobdisk.Direct, "_gather", counted)
    array = np.random.default_rng(1).random(5_000_000)
    values.dump({"a": array}, values.Definitions(), str(tmp_path / "v"), threads=True, direct=True)
    assert sum(copied) < array.nbytes / 1000
    assert np.array_equal(values.load(str(tmp_path / "v"), values.Definitions())["a"], array)


def test_what_goes_past_the_cache_is_whole_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Place and length; else a disk refuses, and all of it would go through the cache unseen."""
    seen: list[tuple[int, int]] = []
    write = os.write

    def watched(fd: int, data: Any) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            seen.append((os.lseek(fd, 0, os.SEEK_CUR), len(data)))
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    found, given = written(tmp_path / "v", [(9 * PAGE + 5, 16), (17 << 20, 48), (77, 3)], direct=True)
    assert found == given
    assert seen
    assert all(at % PAGE == length % PAGE == 0 for at, length in seen)


def test_what_is_small_goes_through_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it is found at once by the next run, and it takes no room to speak of."""
    past: list[int] = []
    write = os.write

    def watched(fd: int, data: Any) -> int:
        past.extend([len(data)] if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT else [])
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    found, given = written(tmp_path / "small", [(PAGE * 7 + 1, 5)], direct=True)
    assert found == given
    assert past == []


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_disk_that_refuses_gets_it_through_the_cache(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first write on or later, and after one that ended within a page."""
    write, calls = os.write, [0]

    def refusing(fd: int, data: Any) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            calls[0] += 1
            if calls[0] > after:
                raise OSError(errno.EINVAL, "no")
        return write(fd, memoryview(data)[:100] if calls[0] == 1 and not after else data)

    monkeypatch.setattr(os, "write", refusing)
    found, given = written(tmp_path / "v", [(9 * PAGE + 5, 16), (17 << 20, 48), (77, 3)], direct=True)
    assert found == given


def test_a_file_system_without_it_is_written_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refusing(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    assert isinstance(blobdisk.begin(str(tmp_path / "v"), direct=True), blobdisk.Cached)


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, [0]

    def full(fd: int, data: Any) -> int:
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        values.dump({"a": np.ones(1_000_000)}, values.Definitions(), str(tmp_path / "v"), direct=True)
    assert not (tmp_path / "v").exists()


def test_views_and_buffers_come_back_from_a_file_past_the_cache(tmp_path: Path) -> None:
    """Arrays that share memory, and buffers whose address nobody tells."""
    base = np.arange(1_000_000)
    group = {"base": base, "part": base[10:20], "raw": bytearray(random.Random(1).randbytes(100_001))}
    values.dump(group, values.Definitions(), str(tmp_path / "v"), direct=True)
    back = values.load(str(tmp_path / "v"), values.Definitions())
    assert pickle.dumps(back["raw"]) == pickle.dumps(group["raw"])
    back["base"][12] = -1
    assert back["part"][2] == -1
