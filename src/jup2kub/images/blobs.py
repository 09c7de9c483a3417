"""The cache of layers: blobs by their digest, and what was built by the key of its recipe."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jup2kub.errors import EnvironmentProblem

FRESH = 3600
"""Seconds after which another use of a blob is noted again."""


@dataclass(frozen=True)
class Blob:
    """A blob in the cache."""

    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    size: int
    """Bytes."""


class Sink:
    """A file being written that knows its digest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """Digest of what was written."""
        return f"sha256:{self._hash.hexdigest()}"


class Blobs:
    """A folder of blobs and of records about them. Writers need no lock: a name appears only when it is whole.

    When a blob was last used its time of access tells. Making one raises EnvironmentProblem (J2K618) where the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "sha256"
        self.records = root / "records"
        try:
            for folder in (self.folder, self.records):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                "J2K618",
                f"the cache of images cannot be made: {error}",
                "XDG_CACHE_HOME names another folder for caches",
            ) from error

    def path(self, digest: str) -> Path:
        """Return where the blob lies, whether it is there or not."""
        return self.folder / digest.removeprefix("sha256:")

    def has(self, blob: Blob) -> bool:
        """Return whether the blob is there, with its size: what is torn counts as absent. Who asks is going to use it."""
        path = self.path(blob.digest)
        try:
            facts = path.stat()
            now = time.time_ns()
            if now - facts.st_atime_ns > FRESH * 10**9:
                os.utime(path, ns=(now, facts.st_mtime_ns))
        except OSError:
            return False
        return facts.st_size == blob.size

    def put(self, data: bytes) -> Blob:
        """Keep `data`."""
        with self.writing() as sink:
            sink.write(data)
        return Blob(sink.digest, sink.size)

    def read(self, blob: Blob) -> bytes:
        """Return the blob's bytes. Raises OSError, or ValueError if they are not the blob's."""
        data = self.path(blob.digest).read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != blob.digest:
            raise ValueError(f"{blob.digest} is damaged in the cache: remove {self.path(blob.digest)}")
        return data

    @contextlib.contextmanager
    def writing(self) -> Iterator[Sink]:
        """Give a sink whose content becomes a blob when the block ends without an error."""
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                sink = Sink(file)
                yield sink
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, self.path(sink.digest))
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise

    def record(self, key: str) -> Mapping[str, Any] | None:
        """Return what was remembered under the key (hexadecimal digits); None = nothing, or nothing readable."""
        try:
            found = json.loads((self.records / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remember(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record; the last one wins."""
        handle, name = tempfile.mkstemp(dir=self.records, prefix=".new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, sort_keys=True)
        os.replace(name, self.records / f"{key}.json")


def default_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return the folder of the cache: `jup2kub-images` in the user's cache folder."""
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "jup2kub-images"
