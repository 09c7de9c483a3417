"""The ledger of a run: exclusive records for commits, intents, main epochs and the cancellation.

All lie in one flat folder, `runs/<run>/ledger`. Cancelling renames it: from then on no process, however late it wakes
up, can link anything into it, and no lock is needed for that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jup2kub.errors import StoreProblem

from . import BlobRef, Commit, Record, Slot
from .disk import Disk, make_folder, sync_folder, write_once
from .trust import Key, NotTrustedError

OPEN, CLOSED = "ledger", "ledger.cancelled"
CANCEL = "cancel.json"
_SLOT = re.compile(r"s\.([^.]+)\.(\d+)\.(\d+)\.json")
_INTENT = re.compile(r"i\.(\d+)\.(\d+)\.json")
_EPOCH = re.compile(r"e\.(\d+)\.json")


def blobs_of(record: Record) -> Iterator[BlobRef]:
    """Yield every blob the record refers to. Raises ValueError where a reference is none."""
    for entry in record.get("values") or ():
        yield _reference(entry)
    for entry in (record.get("files") or {}).values():
        if entry is not None:
            yield _reference(entry)
    for entry in record.get("blobs") or ():
        yield _reference(entry)


def references(record: Record) -> tuple[BlobRef, ...]:
    """Return the record's blobs. Raises StoreProblem (J2K513) where a reference is none."""
    try:
        return tuple(blobs_of(record))
    except ValueError as e:
        raise StoreProblem("J2K513", str(e)) from e


def _reference(entry: Any) -> BlobRef:
    try:
        found = BlobRef(entry["sha256"], entry["bytes"])
    except (TypeError, KeyError) as e:
        raise ValueError(f"no reference to a blob: {entry!r}") from e
    if not isinstance(found.sha256, str) or not isinstance(found.bytes, int):
        raise ValueError(f"no reference to a blob: {entry!r}")
    return found


def slot_name(slot: Slot) -> str:
    """Return the file name of a slot: lower-case ASCII, at most 160 characters, one slot a name."""
    if slot.chunk < 0 or slot.generation < 0 or not slot.step:
        raise StoreProblem("J2K513", f"no such slot can be: {slot}")
    # quote leaves dots, which part the fields.
    step = quote(slot.step, safe="").replace(".", "%2E")
    if len(step) > 100:
        step = step[:32].rstrip("%0123456789ABCDEF") + "~" + hashlib.sha256(slot.step.encode()).hexdigest()
    return f"s.{step}.{slot.chunk}.{slot.generation}.json"


class Ledger:
    """Exclusive records of the runs below one folder. Raises OSError; `files` turns it into StoreProblem."""

    def __init__(self, disk: Disk, folder: Path, key: Key, ignored: dict[str, str]) -> None:
        self._disk, self._folder, self.key, self._ignored = disk, folder, key, ignored

    def create(self, run: str) -> None:
        """Open the ledger of a new run."""
        make_folder(self._disk, self._folder / run / OPEN)

    def folder(self, run: str) -> Path:
        """Return where the run's records lie now. Raises StoreProblem (J2K512) for an unknown run."""
        for name in (OPEN, CLOSED):
            path = self._folder / run / name
            if path.is_dir():
                return path
        raise StoreProblem("J2K512", f"there is no run {run!r} in the store", "`jup2kub runs` lists them")

    def write(self, run: str, name: str, record: Record, about: Record | None = None) -> Commit:
        """Write a record if its place is free and the run is not cancelled; `about` says what `name` cannot."""
        sealed = self.key.seal(f"{run}/{name}", {"about": about or {}, "record": record})
        cancelled = self.cancelled(run)
        if cancelled is None:
            try:
                if write_once(self._disk, self._folder / run / OPEN / name, sealed):
                    return Commit(True, record)
                return Commit(False, self.read(run, name))
            except FileNotFoundError:
                # The folder was renamed under our hands: the cancellation came first.
                cancelled = self.cancelled(run)
        if cancelled is None:
            self.folder(run)
            raise StoreProblem("J2K508", f"the record {name} of run {run} could not be written")
        return Commit(False, self.read(run, name) or cancelled)

    def read(self, run: str, name: str) -> dict[str, Any] | None:
        """Return a trusted record, or None."""
        entry = self.entry(run, name)
        return None if entry is None else entry["record"]

    def entry(self, run: str, name: str) -> dict[str, Any] | None:
        """Return {"about", "record"} of a trusted record, or None."""
        for place in (OPEN, CLOSED):
            try:
                text = (self._folder / run / place / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            return self.believe(run, name, text)
        return None

    def believe(self, run: str, name: str, text: bytes) -> dict[str, Any] | None:
        """Return the entry in a text sealed for this place; None, and the reason among the ignored, if it is not."""
        try:
            return self.key.unseal(f"{run}/{name}", text)
        except NotTrustedError as e:
            self._ignored[f"runs/{run}/{name}"] = str(e)
            return None

    def names(self, run: str) -> tuple[str, ...]:
        """Return the names of all that was written."""
        for _ in range(2):
            try:
                return tuple(sorted(p.name for p in self.folder(run).iterdir()))
            except FileNotFoundError:
                continue
        return ()

    def records(self, run: str) -> dict[Slot, dict[str, Any]]:
        """Return every trusted commit, by step, chunk and generation."""
        found = {}
        for name in self.names(run):
            entry = self.entry(run, name) if _SLOT.fullmatch(name) else None
            if entry is not None:
                about = entry["about"]
                found[Slot(run, about["step"], about["chunk"], about["generation"])] = entry["record"]
        return {slot: found[slot] for slot in sorted(found, key=lambda s: (s.step, s.chunk, s.generation))}

    def generations(self, slot: Slot) -> tuple[int, ...]:
        """Return the generations of the slot's step and chunk in which anything lies, the highest first."""
        prefix = slot_name(replace(slot, generation=0))[: -len("0.json")]
        found = (_SLOT.fullmatch(name) for name in self.names(slot.run) if name.startswith(prefix))
        return tuple(sorted((int(m.group(3)) for m in found if m), reverse=True))

    def intents(self, run: str) -> dict[tuple[int, int], dict[str, Any]]:
        found = {}
        for name in self.names(run):
            match = _INTENT.fullmatch(name)
            record = self.read(run, name) if match else None
            if match and record is not None:
                found[int(match.group(1)), int(match.group(2))] = record
        return found

    def last_epoch(self, run: str) -> int:
        matches = (_EPOCH.fullmatch(name) for name in self.names(run))
        return max((int(m.group(1)) for m in matches if m), default=0)

    def cancel(self, run: str, record: Record) -> bool:
        """Close the ledger. The record goes in first, so that a closed ledger always says why."""
        here, there = self._folder / run / OPEN, self._folder / run / CLOSED
        if not here.is_dir():
            self.folder(run)
            return False
        sealed = self.key.seal(f"{run}/{CANCEL}", {"about": {}, "record": {**record, "status": "cancelled"}})
        try:
            won = write_once(self._disk, here / CANCEL, sealed)
            self._disk.rename(here, there)
        except FileNotFoundError:
            return False
        sync_folder(self._disk, there.parent)
        return won

    def cancelled(self, run: str) -> dict[str, Any] | None:
        """Return the record of the cancellation, also of one that died before it closed the ledger."""
        record = self.read(run, CANCEL)
        if record is None and (self._folder / run / CLOSED).is_dir():
            return {"status": "cancelled"}
        return record
