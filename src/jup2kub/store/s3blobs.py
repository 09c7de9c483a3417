"""Blobs of a bucket, with a local folder in which they are kept for reading.

The bucket checks the digest of an upload, so what is there came whole; a download is digested again. A bad one is
removed from the bucket: then it counts as absent, and is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

from jup2kub.errors import StoreProblem

from . import BlobRef, Missing
from .blobs import SHA256
from .bucket import Bucket
from .disk import translated
from .handed import digest_of, established
from .sweep import GRACE

PUT = "put"
"""Note of a blob: when it was put last, in seconds since the epoch."""
FRESH = GRACE / 4
"""Seconds for which a blob of this process is known to be there; a sweep leaves every blob alone for longer."""
REST = 60.0
"""Seconds after its last use for which a file of the cache stays: somebody may be about to open it."""


def blob_name(sha256: str) -> str:
    """Return the name of the blob's object. Raises StoreProblem (J2K513) for what is no digest."""
    if not SHA256.fullmatch(sha256):
        raise StoreProblem("J2K513", f"{sha256!r} is not a sha256 of 64 lower-case hexadecimal digits")
    return f"blobs/{sha256[:2]}/{sha256}"


class Blobs:
    """Content by its sha256. Safe for threads."""

    def __init__(
        self, bucket: Bucket, folder: Path, cache_bytes: int | None, clock: Callable[[], float]
    ) -> None:
        self._bucket, self._clock, self._most = bucket, clock, cache_bytes
        self._folder = Path(folder).absolute()
        self._put: dict[str, float] = {}
        self._lock = threading.Lock()
        with translated(self._folder):
            for name in ("blobs", "staging"):
                (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def staging(self) -> Path:
        with translated(self._folder):
            return Path(tempfile.mkdtemp(dir=self._folder / "staging"))

    def put(self, data: bytes) -> str:
        path = self._new()
        with translated(self._folder):
            path.write_bytes(data)
        return self.adopt(path, hashlib.sha256(data).hexdigest(), len(data), True)

    def adopt(self, path: Path, sha256: str | None, size: int | None, trusted: bool) -> str:
        with translated(self._folder):
            sha256, found = established(path, sha256, size, trusted)
            name, place = blob_name(sha256), self._place(sha256)
        there = self._bucket.head(name)
        if there is None or _size(there.headers) != found or self._age(there.headers) > FRESH:
            # Put again though it is there: a sweep must take it for used just now.
            self._bucket.put(name, path, sha256=sha256, notes={PUT: repr(self._clock())})
        self._put[sha256] = time.monotonic()
        with translated(self._folder):
            os.chmod(path, 0o400)
            try:
                os.replace(path, place)
            except OSError:
                copy = self._new()
                shutil.copyfile(path, copy)
                os.replace(copy, place)
                path.unlink()
            self._make_room()
        return sha256

    def _age(self, headers: Mapping[str, str]) -> float:
        return self._clock() - put_at(headers)

    def need(self, blob: BlobRef) -> None:
        """Raise Missing if the blob is not in the bucket."""
        name = blob_name(blob.sha256)
        at = self._put.get(blob.sha256)
        if at is not None and time.monotonic() - at < FRESH:
            with contextlib.suppress(OSError):
                if self._place(blob.sha256).stat().st_size == blob.bytes:
                    return
        there = self._bucket.head(name)
        if there is None or _size(there.headers) != blob.bytes:
            raise _missing(blob.sha256, "absent" if there is None else "of another size")

    def has(self, sha256: str, size: int) -> bool:
        there = self._bucket.head(blob_name(sha256))
        return there is not None and _size(there.headers) == size

    def path(self, sha256: str, size: int | None) -> Path:
        name, place = blob_name(sha256), self._place(sha256)
        with contextlib.suppress(OSError):
            if size in (None, place.stat().st_size):
                os.utime(place)
                return place
        made = self._new()
        try:
            # A bad name of a size would be downloaded in vain.
            if size is not None and not self.has(sha256, size):
                raise _missing(sha256, "absent, or of another size")
            with translated(self._folder):
                if not self._bucket.fetch(name, made):
                    raise _missing(sha256, "absent")
                if digest_of(made) != sha256:
                    self._bucket.delete(name)
                    raise _missing(sha256, "torn or altered")
                os.chmod(made, 0o400)
                os.replace(made, place)
                self._make_room()
        finally:
            with contextlib.suppress(FileNotFoundError):
                made.unlink()
        return place

    def read(self, sha256: str, size: int | None) -> bytes:
        data = self.path(sha256, size).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            self._place(sha256).unlink()
            data = self.path(sha256, size).read_bytes()
        return data

    def forget(self, sha256: str) -> None:
        """Remove the blob, here and there."""
        self._bucket.delete(blob_name(sha256))
        self._put.pop(sha256, None)
        with contextlib.suppress(FileNotFoundError):
            self._place(sha256).unlink()

    def close(self) -> None:
        """Remove what was staged."""
        for path in (self._folder / "staging").iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def _make_room(self) -> None:
        """Drop the least recently used files of the cache while it holds more than it may."""
        if self._most is None:
            return
        with self._lock:
            found = []
            for path in (self._folder / "blobs").glob("??/*"):
                with contextlib.suppress(FileNotFoundError):
                    seen = path.stat()
                    found.append((seen.st_mtime, seen.st_size, path))
            total = sum(size for _, size, _ in found)
            for used, size, path in sorted(found):
                if total <= self._most or used > time.time() - REST:
                    return
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                total -= size

    def _place(self, sha256: str) -> Path:
        folder = self._folder / "blobs" / blob_name(sha256).split("/")[1]
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / sha256

    def _new(self) -> Path:
        handle, name = tempfile.mkstemp(dir=self._folder / "staging")
        os.close(handle)
        return Path(name)


def put_at(headers: Mapping[str, str]) -> float:
    """Return when the blob was put last; 0 where it does not say."""
    try:
        return float(headers[f"x-amz-meta-{PUT}"])
    except (KeyError, ValueError):
        return 0.0


def _size(headers: Mapping[str, str]) -> int:
    return int(headers["content-length"])


def _missing(sha256: str, why: str) -> Missing:
    return Missing("J2K510", f"blob {sha256[:12]}: {why}", "run again: it is made anew")
