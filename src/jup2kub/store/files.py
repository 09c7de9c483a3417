"""A store in a folder of this machine.

    store.json  key  gate          format; signing key (0600); lock between users and a sweep
    blobs/aa/<sha256>              content, read-only
    runs/<run>/{run.json,lock}     what is known of a run, and who holds it
    runs/<run>/ledger/…            its exclusive records (`slots`)
    runs/<run>/parts/…             finished parts of unfinished cells
    memo/aa/<key>/…  profile/aa/…  what outlives runs
    verified/<boot>  users/<process>  digests checked in this boot; which processes have not said good-bye
    staging/<process>-n/           files on their way in

Names are lower-case ASCII and no longer than object stores allow, apart from the steps' own names.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import stat
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, TypeVar, cast

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts, Profile

from . import (
    BlobRef,
    Commit,
    Record,
    RunInfo,
    RunKey,
    Slot,
    SweepReport,
    Usage,
    process,
    sweep,
)
from .blobs import Blobs
from .disk import (
    TEMPORARY,
    Disk,
    discard,
    make_folder,
    probe,
    problem,
    temporary,
    translated,
    write_once,
)
from .disk import replace as overwrite
from .memo import Memo
from .profile import Profiles
from .runs import Runs
from .slots import Ledger, blobs_of, references, slot_name
from .trust import KEY_BYTES, Key

FORMAT = 1
FOLDERS = ("blobs", "runs", "memo", "profile", "verified", "users", "staging")
Method = TypeVar("Method", bound=Callable[..., Any])


def _guarded(method: Method) -> Method:
    """Let OSError leave a method of the store as StoreProblem only."""

    @functools.wraps(method)
    def call(self: FileStore, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except OSError as e:
            raise problem(self.root, e) from e

    return cast(Method, call)


class FileStore:
    """See `Store`. `clock` gives seconds since the epoch, `entropy` random bytes, `durable=False` leaves out fsync:
    then a power failure may cost results, never give wrong ones."""

    def __init__(
        self,
        root: Path,
        *,
        cap_bytes: int | None = None,
        durable: bool = True,
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        disk: Disk | None = None,
    ) -> None:
        self.root = root = Path(root).absolute()
        self.cap_bytes = cap_bytes
        self._disk = disk or Disk(durable=durable)
        self._clock = clock
        self._ignored: dict[str, str] = {}
        with translated(root):
            key = _open(self._disk, root, entropy)
            gate = root / "gate"
            self._ledger = Ledger(self._disk, root / "runs", key, self._ignored)
            self._blobs = Blobs(self._disk, root, key, clock)
            self._memo = Memo(self._disk, root / "memo", gate, self._ledger, clock, self._ignored)
            self._profiles = Profiles(self._disk, root / "profile", self._ignored)
            self._runs = Runs(self._disk, root / "runs", key, self._ledger, self._ignored, clock, entropy)
            self._forget_after_crash()
        self._user: Path | None = None

    def _forget_after_crash(self) -> None:
        for path in (self.root / "users").iterdir():
            user = process.parse(path.name)
            if user is not None and user.alive() is False:
                self._blobs.verified.forget()
                discard(self._disk, path)

    def _use(self) -> None:
        """Leave word that this process writes, until it ends in good order."""
        token = process.current().token
        if self._user is None or not self._user.name.startswith(token):
            path = self.root / "users" / temporary(self.root).name[len(TEMPORARY) :]
            os.close(self._disk.create(path))
            self._user = path
            # After a fork the child must not take back the parent's word.
            self._farewell = weakref.finalize(self, _leave, self._disk, path, os.getpid())

    # blobs

    @_guarded
    def staging(self) -> Path:
        self._use()
        name = temporary(self.root).name[len(TEMPORARY) :]
        path = self.root / "staging" / name
        make_folder(self._disk, path)
        return path

    @_guarded
    def workshop(self, run: str) -> tuple[Path, str]:
        self._ledger.folder(run)
        path = self.root / "runs" / run / "parts"
        make_folder(self._disk, path)
        return path, self._ledger.key.mac(f"{run}/parts", b"")

    @_guarded
    def put_blob(self, data: bytes) -> str:
        self._use()
        return self._blobs.put(data)

    @_guarded
    def adopt_blob(
        self, path: Path, *, sha256: str | None = None, size: int | None = None, trusted: bool = False
    ) -> str:
        self._use()
        return self._blobs.adopt(Path(path), sha256, size, trusted)

    @_guarded
    def has_blob(self, sha256: str, size: int) -> bool:
        return self._blobs.has(sha256, size)

    @_guarded
    def blob_path(self, sha256: str, size: int) -> Path:
        return self._blobs.path(sha256, size)

    @_guarded
    def read_blob(self, sha256: str, size: int | None = None) -> bytes:
        return self._blobs.read(sha256, size)

    # commits

    @_guarded
    def commit(self, slot: Slot, record: Record) -> Commit:
        self._use()
        for blob in references(record):
            # Of what was just put, only the presence is in doubt; a reader checks the rest.
            self._blobs.path(blob.sha256, blob.bytes)
        about = {k: v for k, v in asdict(slot).items() if k != "run"}
        return self._ledger.write(slot.run, slot_name(slot), record, about)

    @_guarded
    def record(self, slot: Slot) -> Record | None:
        return self._ledger.read(slot.run, slot_name(slot))

    @_guarded
    def records(self, run: str) -> Mapping[Slot, Record]:
        return self._ledger.records(run)

    @_guarded
    def latest(self, run: str, step: str, chunk: int = 0) -> tuple[Slot, Record] | None:
        slot = Slot(run, step, chunk)
        for generation in self._ledger.generations(slot):
            slot = replace(slot, generation=generation)
            record = self.record(slot)
            if record is not None:
                return slot, record
        return None

    @_guarded
    def valid(self, record: Record) -> bool:
        try:
            return all(self._blobs.has(blob.sha256, blob.bytes) for blob in blobs_of(record))
        except ValueError:
            return False

    @_guarded
    def next_generation(self, slot: Slot) -> Slot:
        highest = max(self._ledger.generations(slot), default=-1)
        return replace(slot, generation=highest + 1)

    @_guarded
    def intent(self, run: str, generation: int, cell: int, record: Record) -> Commit:
        return self._ledger.write(run, f"i.{generation}.{cell}.json", record)

    @_guarded
    def intents(self, run: str) -> Mapping[tuple[int, int], Record]:
        return self._ledger.intents(run)

    @_guarded
    def main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        return self._ledger.write(run, f"e.{epoch}.json", record).won

    @_guarded
    def last_epoch(self, run: str) -> int:
        return self._ledger.last_epoch(run)

    @_guarded
    def cancel(self, run: str, record: Record) -> bool:
        return self._ledger.cancel(run, record)

    @_guarded
    def cancelled(self, run: str) -> Record | None:
        return self._ledger.cancelled(run)

    # what outlives a run

    @_guarded
    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        self._memo.remember(key, slot, observed)

    @_guarded
    def recall(self, key: str, check: Callable[[Record], bool]) -> Record | None:
        return self._memo.recall(key, check, self.valid)

    @_guarded
    def learn(self, key: str, facts: Facts) -> None:
        self._profiles.learn(key, facts)

    def profile(self) -> Profile:
        return self._profiles

    # runs

    @_guarded
    def open_run(self, key: RunKey, *, fresh: bool = False) -> RunInfo:
        self._use()
        return self._runs.open(key, fresh)

    @_guarded
    def update_run(self, run: str, *, plan: BlobRef | None = None) -> RunInfo:
        return self._runs.update(run, plan)

    def undo_folder(self, run: str) -> Path:
        return self.root / "runs" / run / "undo"

    @_guarded
    def close_run(self, run: str, state: str) -> RunInfo:
        return self._runs.finish(run, state)

    @_guarded
    def runs(self) -> tuple[RunInfo, ...]:
        return self._runs.all()

    # housekeeping

    @_guarded
    def sweep(self, keep_bytes: int | None = None, *, dry_run: bool = False) -> SweepReport:
        cap = self.cap_bytes if keep_bytes is None else keep_bytes
        house = sweep.House(self._disk, self.root, self._runs, self._ledger, self._memo, self._clock())
        return sweep.sweep(house, cap, dry_run=dry_run)

    @_guarded
    def usage(self) -> Usage:
        house = sweep.House(self._disk, self.root, self._runs, self._ledger, self._memo, self._clock())
        return sweep.usage(house, self.cap_bytes)

    def ignored(self) -> Mapping[str, str]:
        return dict(self._ignored)

    def close(self) -> None:
        self._runs.let_go()
        if self._user is not None:
            self._user = None
            self._farewell()

    def __enter__(self) -> FileStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _leave(disk: Disk, path: Path, pid: int) -> None:
    if os.getpid() == pid:
        discard(disk, path)


def _open(disk: Disk, root: Path, entropy: Callable[[int], bytes]) -> Key:
    """Make the store if it is not there, and return its key."""
    root.parent.mkdir(parents=True, exist_ok=True)
    make_folder(disk, root)
    marker = root / "store.json"
    found = root.stat()
    if not marker.exists():
        strangers = [
            p.name
            for p in root.iterdir()
            if not p.name.startswith(TEMPORARY) and p.name not in ("key", "gate", "lost+found", *FOLDERS)
        ]
        if strangers:
            raise StoreProblem(
                "J2K504",
                f"{root} is not a store, and not empty: it holds {strangers[0]!r}",
                "name an empty or a new folder with --store DIR",
            )
    if not marker.exists():
        probe(disk, root)
    _own(disk, root, found)
    if not marker.exists():
        for name in FOLDERS:
            make_folder(disk, root / name)
        write_once(disk, root / "key", entropy(KEY_BYTES).hex().encode())
        write_once(disk, root / "gate", b"")
        # Last, so that a store with a marker is complete.
        write_once(disk, marker, json.dumps({"format": FORMAT, "device": found.st_dev}).encode())
    _check_format(disk, marker, found.st_dev)
    return _key(root / "key")


def _own(disk: Disk, root: Path, found: os.stat_result) -> None:
    """Close the folder to others; refuse one of another user."""
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise StoreProblem(
            "J2K506",
            f"the store {root} belongs to another user",
            "choose a folder of your own with --store DIR",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        disk.chmod(root, 0o700)


def _check_format(disk: Disk, marker: Path, device: int) -> None:
    try:
        data = json.loads(marker.read_bytes())
        known = data["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        data, known = {}, False
    if not known:
        raise StoreProblem(
            "J2K505",
            f"the store {marker.parent} has format {data.get('format', 'unreadable')}; this program knows {FORMAT}",
            "name a new folder with --store DIR; nothing in the old one is lost",
        )
    if data.get("device") != device:
        # The folder was moved or copied to another disk since: what held there need not hold here.
        probe(disk, marker.parent)
        overwrite(disk, marker, json.dumps({"format": FORMAT, "device": device}).encode())


def _key(path: Path) -> Key:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError as gone:
        raise StoreProblem(
            "J2K506",
            f"the store's key {path} is gone, and without it nothing there can be trusted",
            "put it back, or remove the store folder, or name another with --store DIR",
        ) from gone
    if mode & 0o077:
        raise StoreProblem(
            "J2K506",
            f"others could read the store's key {path} (mode {mode:o}), so its signatures prove nothing",
            "if nobody else uses this machine, `chmod 600` it; else remove the store",
        )
    try:
        secret = bytes.fromhex(path.read_text())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise StoreProblem(
            "J2K506", f"the store's key {path} is damaged", "remove the store folder, or name another"
        )
    return Key(secret)
