"""The store is the truth: content-addressed blobs, and one exclusive record per step.

This module is the contract and the values it speaks of; `files` keeps a store in a folder, `memory` is the fake that
passes the same tests. Whatever happens to a writer, a reader sees a thing whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Protocol

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts, Profile

Record = Mapping[str, Any]
"""JSON. Blobs it refers to: `values[].{sha256, bytes}`, `files.<path>.{sha256, bytes}`, `blobs[].{sha256, bytes}`;
`status` is `ok` where the record may be reused by another run."""

STATES = ("running", "done", "failed", "interrupted", "cancelled")
UNFINISHED = ("running", "failed", "interrupted")
"""States in which the same notebook with the same parameters goes on with the run."""


class Missing(StoreProblem):
    """A blob is absent, or what lies in its place is torn or altered: both count as absent."""


@dataclass(frozen=True)
class BlobRef:
    """A blob by its content."""

    sha256: str
    """64 hexadecimal digits, lower case."""
    bytes: int


@dataclass(frozen=True)
class Slot:
    """The place of exactly one commit record."""

    run: str
    step: str
    chunk: int = 0
    """Number of the chunk of a map step; 0 for every other step."""
    generation: int = 0
    """Goes up when a failed step, or a commit whose blobs are gone, is tried again."""


class Commit(NamedTuple):
    """What became of an exclusive write."""

    won: bool
    record: Record | None
    """The record that holds: one's own, the earlier winner's, or the cancellation's (`status` is `cancelled`);
    None = the place is taken by something that is not trusted, so use the next generation."""


@dataclass(frozen=True)
class RunKey:
    """Two runs with equal keys are tries of the same work."""

    notebook: str
    """Absolute path."""
    source: str
    """Digest of the code cells."""
    parameters: str = ""
    """Digest of the parameters; empty = none."""


@dataclass(frozen=True)
class RunInfo:
    """One run as the store knows it."""

    id: str
    """26 lower-case characters that sort by the time of creation."""
    key: RunKey
    state: str
    """One of `STATES`; a run whose process is gone is `interrupted`."""
    created: float
    """Seconds since the epoch, as all times here."""
    opened: float
    """When a process last began or continued it."""
    updated: float
    pid: int
    """Process that last held it."""
    live: bool
    """Whether a process holds it now."""
    resumed: bool = False
    """Set by `open_run`: the run existed before."""
    # Optional: kit.canon evaluates the annotation, on Python 3.9 too.
    plan: Optional[BlobRef] = None
    """The canonical JSON of its plan, kept as a blob; None = not planned yet."""


@dataclass(frozen=True)
class Usage:
    """What the store holds."""

    blobs: int
    blob_bytes: int
    record_bytes: int
    temporary_bytes: int
    """Half-written and staged files."""
    runs: int
    memos: int
    cap_bytes: int | None
    """Size a sweep keeps to by default; None = no cap."""

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.blob_bytes + self.record_bytes + self.temporary_bytes


@dataclass(frozen=True)
class Dropped:
    """One thing that a sweep removed, or would remove."""

    kind: str
    """`run`, `memo`, `blob` or `temporary`; in the cache of layers `layer` or `temporary`."""
    name: str
    bytes: int
    """Freed by removing it; a blob that several things share counts with the last of them."""
    used: float
    reason: str


@dataclass(frozen=True)
class SweepReport:
    """What a sweep did, or with `dry_run` would do."""

    dry_run: bool
    dropped: tuple[Dropped, ...]
    """In the order of dropping."""
    kept_bytes: int
    pinned: tuple[str, ...]
    """Runs and results that live runs refer to: never dropped, whatever the cap."""

    @property
    def freed(self) -> int:
        """Bytes."""
        return sum(d.bytes for d in self.dropped)


class Store(Protocol):
    """Safe for several threads and processes at once. Methods raise StoreProblem (J2K5nn) when the medium fails."""

    # blobs
    def staging(self) -> Path:
        """Return a new private folder on this machine, from which `adopt_blob` is cheapest."""

    def workshop(self, run: str) -> tuple[Path, str]:
        """Return a private folder of the run for unfinished work, gone when the run is, and a secret to seal it with."""

    def put_blob(self, data: bytes) -> str:
        """Keep `data`, durable on return, and return its sha256. Idempotent."""

    def adopt_blob(
        self, path: Path, *, sha256: str | None = None, size: int | None = None, trusted: bool = False
    ) -> str:
        """Move the file into the store and return its sha256. `trusted`: the digest comes from our own kernel, which
        wrote the file on this machine just now, so that it is not read again. Raises StoreProblem (J2K511) when the
        file is not what `sha256` or `size` say."""

    def has_blob(self, sha256: str, size: int) -> bool:
        """Return whether `blob_path` would find it."""

    def blob_path(self, sha256: str, size: int) -> Path:
        """Return a file with the blob's content, to be read only (a remote store downloads it). Raises Missing."""

    def read_blob(self, sha256: str, size: int | None = None) -> bytes:
        """Return the blob's content, its digest checked. Raises Missing."""

    # commits
    def commit(self, slot: Slot, record: Record) -> Commit:
        """Put the record into the slot, if it is the first; durable on return. After `cancel` nobody is the first.
        Raises Missing when a blob it refers to is absent."""

    def record(self, slot: Slot) -> Record | None:
        """Return the trusted record of the slot. It is a hit only if also `valid`."""

    def records(self, run: str) -> Mapping[Slot, Record]:
        """Return all trusted records of the run, by step, chunk and generation."""

    def latest(self, run: str, step: str, chunk: int = 0) -> tuple[Slot, Record] | None:
        """Return the trusted record of the highest generation."""

    def valid(self, record: Record) -> bool:
        """Return whether every blob that the record refers to is there and whole."""

    def next_generation(self, slot: Slot) -> Slot:
        """Return the slot after the highest generation in which anything lies; generation 0 if nothing does."""

    def intent(self, run: str, generation: int, cell: int, record: Record) -> Commit:
        """Announce, exclusively and before it starts, a cell with effects."""

    def intents(self, run: str) -> Mapping[tuple[int, int], Record]:
        """Return the run's intents by (generation, cell)."""

    def main_epoch(self, run: str, epoch: int, record: Record) -> bool:
        """Claim, exclusively, to be the run's main line number `epoch`; return whether that succeeded."""

    def last_epoch(self, run: str) -> int:
        """Return the highest epoch claimed; 0 if none. A main line that sees a higher one than its own stops."""

    def cancel(self, run: str, record: Record) -> bool:
        """Close the run for every later commit, intent and epoch; return False if it was cancelled before."""

    def cancelled(self, run: str) -> Record | None:
        """Return the cancellation's record (`status` is `cancelled`); None = not cancelled."""

    # what outlives a run
    def remember(self, key: str, slot: Slot, observed: Record) -> None:
        """File the slot's record under the memo key, with what the step was observed to depend on."""

    def recall(self, key: str, check: Callable[[Record], bool]) -> Record | None:
        """Return the newest successful record under the key that is valid and whose observations pass `check`."""

    def learn(self, key: str, facts: Facts) -> None:
        """Merge facts into the profile, as `profile.merge` says."""

    def profile(self) -> Profile:
        """Return what was learned, by profile key; a live view, read where it is asked."""

    # runs
    def open_run(self, key: RunKey, *, fresh: bool = False) -> RunInfo:
        """Hold a run exclusively: the newest unfinished one with this key that nobody holds, else (or if `fresh`) a
        new one."""

    def update_run(self, run: str, *, plan: BlobRef | None = None) -> RunInfo:
        """Write down the plan of a run that this store holds."""

    def undo_folder(self, run: str) -> Path:
        """Return a folder of this machine, made or not, that stays as long as the run: what its cells overwrite is
        kept there."""

    def close_run(self, run: str, state: str) -> RunInfo:
        """Write the final state (one of `STATES` but `running`) and let go of the run."""

    def runs(self) -> tuple[RunInfo, ...]:
        """Return all runs, the newest first."""

    # housekeeping
    def sweep(self, keep_bytes: int | None = None, *, dry_run: bool = False) -> SweepReport:
        """Drop what nothing refers to, then the least recently used until at most `keep_bytes` (None = the store's
        cap) remain. Never drops what a live run refers to."""

    def usage(self) -> Usage:
        """Count what is there."""

    def ignored(self) -> Mapping[str, str]:
        """Return what was met and not believed since the store was opened: name → reason."""

    def close(self) -> None:
        """Let go of held runs (they stay resumable)."""
