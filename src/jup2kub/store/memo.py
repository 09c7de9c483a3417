"""The memo: what a step gave under which key, and what it was observed to depend on beyond the key.

An entry is two files: `<entry>.record`, a hard link to the committed record, and then `<entry>.json`, which names the
slot and the observations. So an entry stays readable when the run it came from is dropped.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

from jup2kub.errors import StoreProblem
from jup2kub.kit import canon

from . import Record, Slot
from .disk import Disk, discard, lock, make_folder, replace
from .slots import Ledger, slot_name

_KEY = re.compile(r"[0-9a-zA-Z_-]{8,128}")


class Entry(NamedTuple):
    """One thing remembered."""

    created: float
    path: Path
    record: Record
    observed: Record


class Memo:
    """Entries below one folder. Raises OSError; `files` turns it into StoreProblem."""

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        gate: Path,
        ledger: Ledger,
        clock: Callable[[], float],
        ignored: dict[str, str],
    ) -> None:
        self._disk, self._folder, self._gate, self._ledger = disk, folder, gate, ledger
        self._clock, self._ignored = clock, ignored

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreProblem("J2K513", f"{key!r} is not a memo key (8 to 128 letters, digits, _ or -)")
        return self._folder / key[:2] / key

    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        folder = self._place(key)
        source = self._ledger.folder(slot.run) / slot_name(slot)
        name = canon.digest(f"{slot.run}/{slot_name(slot)}")[:24]
        body = {"run": slot.run, "slot": slot_name(slot), "observed": observed, "created": self._clock()}
        sealed = self._ledger.key.seal(f"memo/{key}/{name}", body)
        # A sweep removes empty folders; not while the gate is held.
        with lock(self._gate, exclusive=False):
            make_folder(self._disk, folder.parent)
            make_folder(self._disk, folder)
            try:
                with contextlib.suppress(FileExistsError):
                    self._disk.link(source, folder / f"{name}.record")
            except FileNotFoundError as e:
                raise StoreProblem("J2K512", f"nothing was committed in {slot}") from e
            path = folder / f"{name}.json"
            replace(self._disk, path, sealed)
            self._disk.touch(path, self._clock())

    def recall(
        self, key: str, check: Callable[[Record], bool], valid: Callable[[Record], bool]
    ) -> Record | None:
        for entry in self._entries(key):
            if entry.record.get("status") == "ok" and check(entry.observed) and valid(entry.record):
                # Gone in between: a sweep was faster, and its blobs may be gone as well.
                with lock(self._gate, exclusive=False), contextlib.suppress(FileNotFoundError):
                    self._disk.touch(entry.path, self._clock())
                    return entry.record
        return None

    def _entries(self, key: str) -> list[Entry]:
        """Return the trusted entries, the newest first."""
        folder = self._place(key)
        try:
            paths = sorted(p for p in folder.iterdir() if p.suffix == ".json")
        except FileNotFoundError:
            return []
        found = (self.read(path) for path in paths)
        return sorted((e for e in found if e), key=lambda e: (e.created, e.path.name), reverse=True)

    def read(self, path: Path) -> Entry | None:
        """Return the entry, or None if it or its record is not to be trusted."""
        key, name = path.parent.name, path.stem
        try:
            text, record_text = path.read_bytes(), path.with_suffix(".record").read_bytes()
        except FileNotFoundError:
            return None
        body = self._ledger.believe("memo", f"{key}/{name}", text)
        if body is None:
            return None
        entry = self._ledger.believe(body["run"], body["slot"], record_text)
        return None if entry is None else Entry(body["created"], path, entry["record"], body["observed"])

    def paths(self) -> Iterator[Path]:
        """Yield the path of every entry, by key."""
        for prefix in sorted(self._folder.iterdir()):
            for folder in sorted(prefix.iterdir()) if prefix.is_dir() else ():
                yield from sorted(p for p in folder.iterdir() if p.suffix == ".json")

    def drop(self, path: Path) -> None:
        """Remove one entry; the caller holds the gate exclusively."""
        discard(self._disk, path)
        discard(self._disk, path.with_suffix(".record"))
        for folder in (path.parent, path.parent.parent):
            with contextlib.suppress(OSError):
                self._disk.rmdir(folder)


def own_bytes(path: Path) -> tuple[int, float]:
    """Return the bytes that removing the entry frees, and when it was last used."""
    found = path.stat()
    size = found.st_size
    with contextlib.suppress(FileNotFoundError):
        record = path.with_suffix(".record").stat()
        # Two names: the run still keeps it.
        size += record.st_size if record.st_nlink == 1 else 0
    return size, found.st_mtime
