"""Keeps the cache of layers to a size: what was used least recently goes first, and what speaks of it with it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jup2kub.images.blobs import FRESH, Blobs
from jup2kub.store import Dropped

CAP = 20 << 30
"""Bytes to which the cache is trimmed if nothing else is said."""
IN_USE = 2 * FRESH
"""Seconds since its last use in which a layer is never dropped: a build may count on it. The time of a use is noted
only once in `FRESH`."""
LEFT = 86400
"""Seconds after which a file that is still being written belongs to a build that was ended."""
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Trimmed:
    """What trimming did, or with `dry_run` would do."""

    dry_run: bool
    dropped: tuple[Dropped, ...]
    """In the order of dropping; `layer`, or `temporary`: left by a build that was ended. A layer is named by what it
    holds, in words."""
    kept_bytes: int

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(d.bytes for d in self.dropped)


@dataclass(frozen=True)
class _File:
    path: Path
    bytes: int
    used: float


def trim(blobs: Blobs, keep: int, now: float, *, dry_run: bool = False) -> Trimmed:
    """Drop what was used least recently until `keep` bytes are left. `now`: seconds since 1970.

    A layer that is dropped is made anew by the next build that wants it: of wheels the same bytes, of Debian packages
    those that the mirror has then. Raises OSError.
    """
    names = _titles(blobs)
    files = sorted(_files(blobs.folder), key=lambda f: (f.used, f.path.name))
    total = sum(f.bytes for f in files)
    dropped: list[Dropped] = []
    gone: set[str] = set()
    for file in files:
        written = file.path.name.startswith(".")
        if written and now - file.used > LEFT:
            dropped.append(
                Dropped("temporary", file.path.name, file.bytes, file.used, "left by a build that ended")
            )
        elif not written and total > keep and now - file.used > IN_USE:
            name = names.get(file.path.name, file.path.name)
            dropped.append(Dropped("layer", name, file.bytes, file.used, "used least recently"))
            gone.add(file.path.name)
        else:
            continue
        total -= file.bytes
        if not dry_run:
            file.path.unlink(missing_ok=True)
    if gone and not dry_run:
        _forget(blobs, gone)
    return Trimmed(dry_run, tuple(dropped), total)


def _files(folder: Path) -> Iterator[_File]:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            yield _File(path, facts.st_size, max(facts.st_atime, facts.st_mtime))


def _titles(blobs: Blobs) -> dict[str, str]:
    """Return what layers hold, by the names of their files."""
    found = {}
    for path in blobs.records.glob("[!.]*.json"):
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record, dict) and record.get("title") and "digest" in record:
                found[str(record["digest"]).removeprefix("sha256:")] = str(record["title"])
    return found


def _forget(blobs: Blobs, gone: set[str]) -> None:
    """Remove records that speak of blobs that are gone: they are no answer to anything any more."""
    for path in blobs.records.glob("[!.]*.json"):
        with contextlib.suppress(OSError):
            if not gone.isdisjoint(DIGEST.findall(path.read_text(encoding="utf-8"))):
                path.unlink()
