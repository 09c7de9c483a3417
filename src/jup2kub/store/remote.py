"""The store of a run server, as agents and the user's machine see it: over HTTP, with blobs kept in a local folder.

What was downloaded, or made here and uploaded, stays in the folder, so that a kernel reads it again without the network.
Python >= 3.9 and the standard library only: pods carry it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

from jup2kub.errors import StoreProblem
from jup2kub.kit.canon import digest, from_json, to_json
from jup2kub.model.facts import Facts, Profile

from . import BlobRef, Commit, Dropped, Missing, Record, RunInfo, RunKey, Slot, SweepReport, Usage
from .blobs import SHA256
from .handed import established
from .link import Link

PIECE = 8 << 20
"""Bytes of a blob that one request carries: a proxy on the way may cut what is longer."""


class RemoteStore:
    """See `Store`. `folder` is private to this process; it may be lost at any time but while it is used."""

    def __init__(self, link: Link, folder: Path) -> None:
        self.link, self._folder = link, Path(folder).absolute()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._sealed: dict[str, str] = {}
        for name in ("blobs", "staging", "work", "undo"):
            (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.moved: Callable[[int, int], None] = lambda sent, there: None
        """Told of each blob's pieces: bytes sent now, and bytes that the server had already."""
        self.main_epoch_held = 0
        """The epoch of the main line that this process runs; commits of a main line that was replaced are refused."""

    def _ask(self, method: str, **arguments: Any) -> Any:
        return self.link.ask(f"/v1/store/{method}", arguments)

    # blobs

    def staging(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder / "staging"))

    def workshop(self, run: str) -> tuple[Path, str]:
        if run not in self._sealed:
            self._sealed[run] = self._ask("workshop", run=run)
        path = self._folder / "work" / run
        path.mkdir(mode=0o700, exist_ok=True)
        return path, self._sealed[run]

    def put_blob(self, data: bytes) -> str:
        path = self._new()
        path.write_bytes(data)
        return self.adopt_blob(path)

    def adopt_blob(
        self, path: Path, *, sha256: str | None = None, size: int | None = None, trusted: bool = False
    ) -> str:
        path = Path(path)
        sha256, found = established(path, sha256, size, trusted)
        place = self._place(sha256)
        try:
            os.chmod(path, 0o400)
            os.replace(path, place)
        except OSError:
            copy = self._new()
            shutil.copyfile(path, copy)
            os.replace(copy, place)
            path.unlink()
        self._upload(place, sha256, found)
        return sha256

    def _upload(self, path: Path, sha256: str, size: int) -> None:
        have = self.link.ask(f"/v1/blobs/{sha256}", {"size": size})["have"]
        self.moved(0, max(0, have))
        with open(path, "rb") as file:
            while have < size or have < 0:
                file.seek(max(0, have))
                data = file.read(PIECE)
                where = f"/v1/blobs/{sha256}?size={size}&offset={max(0, have)}"
                answer = self.link.send("PUT", where, data)
                before, have = have, int(answer.headers["x-j2k-have"])
                if have <= before:
                    raise StoreProblem("J2K523", f"the run server did not take blob {sha256[:12]}")
                self.moved(len(data), 0)

    def has_blob(self, sha256: str, size: int) -> bool:
        _known(sha256)
        return bool(self.link.ask(f"/v1/blobs/{sha256}", {"size": size})["have"] == size)

    def blob_path(self, sha256: str, size: int) -> Path:
        path = self._place(sha256)
        with contextlib.suppress(OSError):
            if path.stat().st_size == size:
                return path
        with self._lock:
            self._download(sha256, size, path)
        return path

    def _download(self, sha256: str, size: int, path: Path) -> None:
        made, seen, have = self._new(), hashlib.sha256(), 0
        try:
            with open(made, "wb") as file:
                while have < size or (size == 0 and have == 0):
                    last = max(0, min(have + PIECE, size) - 1)
                    answer = self.link.send(
                        "GET", f"/v1/blobs/{sha256}?size={size}", headers={"Range": f"bytes={have}-{last}"}
                    )
                    seen.update(answer.body)
                    file.write(answer.body)
                    have += len(answer.body)
                    if not answer.body:
                        break
            if have != size or seen.hexdigest() != sha256:
                raise Missing("J2K510", f"blob {sha256[:12]} of {size} bytes came torn", "run again")
            os.chmod(made, 0o400)
            os.replace(made, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                made.unlink()

    def read_blob(self, sha256: str, size: int | None = None) -> bytes:
        if size is None:
            _known(sha256)
            size = int(self.link.ask(f"/v1/blobs/{sha256}", {"size": None})["have"])
            if size < 0:
                raise Missing("J2K510", f"blob {sha256[:12]}: absent", "run again: it is made anew")
        return self.blob_path(sha256, size).read_bytes()

    def _place(self, sha256: str) -> Path:
        _known(sha256)
        folder = self._folder / "blobs" / sha256[:2]
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / sha256

    def _new(self) -> Path:
        return self._folder / "staging" / f"{os.getpid()}-{next(self._numbers)}.part"

    # commits

    def commit(self, slot: Slot, record: Record) -> Commit:
        epoch = self.main_epoch_held
        answer = self._ask("commit", slot=to_json(slot), record=record, main_epoch=epoch)
        return _commit(answer, record)

    def record(self, slot: Slot) -> Record | None:
        found: Record | None = self._ask("record", slot=to_json(slot))
        return found

    def records(self, run: str) -> Mapping[Slot, Record]:
        return {from_json(Slot, slot): record for slot, record in self._ask("records", run=run)}

    def latest(self, run: str, step: str, chunk: int = 0) -> tuple[Slot, Record] | None:
        found = self._ask("latest", run=run, step=step, chunk=chunk)
        return (from_json(Slot, found[0]), found[1]) if found else None

    def valid(self, record: Record) -> bool:
        parts = {name: record.get(name) for name in ("values", "files", "blobs")}
        return bool(self._ask("valid", record=parts))

    def next_generation(self, slot: Slot) -> Slot:
        return from_json(Slot, self._ask("next_generation", slot=to_json(slot)))

    def intent(self, run: str, generation: int, cell: int, record: Record) -> Commit:
        answer = self._ask("intent", run=run, generation=generation, cell=cell, record=record)
        return _commit(answer, record)

    def intents(self, run: str) -> Mapping[tuple[int, int], Record]:
        found = self._ask("intents", run=run)
        return {(generation, cell): record for generation, cell, record in found}

    def main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        return bool(self._ask("main_epoch", run=run, epoch=epoch, record=record))

    def last_epoch(self, run: str) -> int:
        return int(self._ask("last_epoch", run=run))

    def cancel(self, run: str, record: Record) -> bool:
        return bool(self._ask("cancel", run=run, record=record))

    def cancelled(self, run: str) -> Record | None:
        found: Record | None = self._ask("cancelled", run=run)
        return found

    # what outlives a run

    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        self._ask("remember", key=key, slot=to_json(slot), observed=observed)

    def recall(self, key: str, check: Callable[[Record], bool]) -> Record | None:
        refused: list[str] = []
        while True:
            found = self._ask("recall", key=key, refused=refused)
            if found is None:
                return None
            record: Record = found["record"]
            if check(found["observed"]):
                return record
            refused.append(digest(found["observed"]))

    def learn(self, key: str, facts: Facts) -> None:
        self._ask("learn", key=key, facts=to_json(facts))

    def profile(self) -> Profile:
        return _Profiles(self._ask)

    # runs

    def open_run(self, key: RunKey, *, fresh: bool = False) -> RunInfo:
        return from_json(RunInfo, self._ask("open_run", key=to_json(key), fresh=fresh))

    def update_run(self, run: str, *, plan: BlobRef | None = None) -> RunInfo:
        return from_json(RunInfo, self._ask("update_run", run=run, plan=to_json(plan)))

    def undo_folder(self, run: str) -> Path:
        return self._folder / "undo" / run

    def close_run(self, run: str, state: str) -> RunInfo:
        return from_json(RunInfo, self._ask("close_run", run=run, state=state))

    def runs(self) -> tuple[RunInfo, ...]:
        return tuple(from_json(RunInfo, info) for info in self._ask("runs"))

    # housekeeping

    def sweep(self, keep_bytes: int | None = None, *, dry_run: bool = False) -> SweepReport:
        told = self._ask("sweep", keep_bytes=keep_bytes, dry_run=dry_run)
        dropped = tuple(from_json(Dropped, d) for d in told["dropped"])
        return SweepReport(told["dry_run"], dropped, told["kept_bytes"], tuple(told["pinned"]))

    def usage(self) -> Usage:
        return Usage(**self._ask("usage"))

    def ignored(self) -> Mapping[str, str]:
        return dict(self._ask("ignored"))

    def close(self) -> None:
        shutil.rmtree(self._folder / "staging", ignore_errors=True)
        (self._folder / "staging").mkdir(mode=0o700, parents=True, exist_ok=True)


class _Profiles(Mapping[str, Facts]):
    """What was learned, asked for where it is read."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def __getitem__(self, key: str) -> Facts:
        found = self._ask("profile", key=key)
        if found is None:
            raise KeyError(key)
        return from_json(Facts, found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask("profile_keys"))

    def __len__(self) -> int:
        return len(self._ask("profile_keys"))


def _commit(answer: Mapping[str, Any], mine: Record) -> Commit:
    """Return what became of a write. If the answer to the first try was lost, the second finds one's own record."""
    record = answer["record"]
    return Commit(
        bool(answer["won"]) or (record is not None and record == json.loads(json.dumps(mine))), record
    )


def _known(sha256: str) -> None:
    if not SHA256.fullmatch(sha256):
        raise StoreProblem("J2K513", f"{sha256!r} is not a sha256 of 64 lower-case hexadecimal digits")
