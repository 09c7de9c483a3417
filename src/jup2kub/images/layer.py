"""Writes a layer: a tar whose bytes depend on its entries alone."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from jup2kub.images import squeeze
from jup2kub.images.blobs import Blob, Blobs, Sink
from jup2kub.images.tree import Entry, Ground, laid

CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A layer in the cache."""

    blob: Blob
    """Compressed."""
    diff_id: str
    """Digest of the tar itself: the layer's identity, whatever compressed it."""
    kind: str
    """`zstd` or `gzip`."""
    raw: int
    """Bytes of the tar."""
    title: str = ""
    """What it holds, in words."""
    ground: Ground = field(default_factory=Ground)
    """Folders and links it makes."""

    @property
    def media_type(self) -> str:
        """As manifests name it."""
        return squeeze.media_type(self.kind)

    def to_record(self) -> dict[str, Any]:
        """Return the layer as JSON values."""
        return {
            "digest": self.blob.digest,
            "size": self.blob.size,
            "diff_id": self.diff_id,
            "kind": self.kind,
            "raw": self.raw,
            "title": self.title,
            "folders": dict(self.ground.folders),
            "links": dict(self.ground.links),
        }


def from_record(record: Mapping[str, Any]) -> Layer:
    """Return the layer of `to_record`."""
    return Layer(
        Blob(record["digest"], record["size"]),
        record["diff_id"],
        record["kind"],
        record["raw"],
        record["title"],
        Ground(record["folders"], record["links"]),
    )


class _Tee:
    """A file that tarfile writes: what comes is counted, hashed, compressed and handed on."""

    def __init__(self, sink: Sink, kind: str, tell: Callable[[int], None]) -> None:
        self._sink = sink
        self._tell = tell
        self._compressor = squeeze.compressor(kind)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        self._sink.write(self._compressor.compress(bytes(data)))
        self._tell(self.size)
        return len(data)

    def finish(self) -> str:
        """End the stream; return the digest of what was written into it."""
        self._sink.write(self._compressor.flush())
        return f"sha256:{self._hash.hexdigest()}"


def header(entry: Entry) -> tarfile.TarInfo:
    """Return the tar header of an entry, all else 0 or empty."""
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    if entry.is_folder:
        info.type = tarfile.DIRTYPE
    elif entry.target:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    elif isinstance(entry.content, Path):
        info.size = entry.content.stat().st_size
    elif isinstance(entry.content, bytes):
        info.size = len(entry.content)
    elif entry.content is not None:
        info.size = entry.content.size
    return info


def add(archive: tarfile.TarFile, entry: Entry) -> None:
    """Write one entry. Raises OSError if its file cannot be read, or changed its size meanwhile."""
    info = header(entry)
    if isinstance(entry.content, bytes):
        archive.addfile(info, io.BytesIO(entry.content))
    elif entry.content is None:
        archive.addfile(info)
    else:
        with entry.content.open("rb") if isinstance(entry.content, Path) else entry.content.open() as file:
            archive.addfile(info, file)


def silent(done: int) -> None:
    """Tell nobody."""


def write(
    blobs: Blobs,
    entries: Iterable[Entry],
    kind: str,
    title: str = "",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Layer:
    """Write settled entries as a layer into the cache. `tell` gets the bytes of the tar so far, and in all.

    PAX headers appear only where a name or size does not fit (tarfile writes none else), so that the same entries
    give the same bytes on every machine.
    """
    listed = list(entries)
    total = size(listed)
    with blobs.writing() as sink:
        tee = _Tee(sink, kind, lambda done: tell(done, max(total, done)))
        with tarfile.open(
            fileobj=cast(IO[bytes], tee), mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK
        ) as archive:
            for entry in listed:
                add(archive, entry)
        diff_id = tee.finish()
    return Layer(Blob(sink.digest, sink.size), diff_id, kind, tee.size, title, laid(listed))


def size(entries: Iterable[Entry]) -> int:
    """Return the bytes of a tar of these entries, but for what tarfile adds for names that do not fit."""
    blocks = (
        tarfile.BLOCKSIZE + -(-header(e).size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for e in entries
    )
    raw = sum(blocks) + 2 * tarfile.BLOCKSIZE
    return -(-raw // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def copy(
    blobs: Blobs, stream: IO[bytes], kind: str, title: str, tell: Callable[[int], None] = silent
) -> Layer:
    """Keep a tar as a layer, byte for byte; its ground is not known yet. `tell` gets the bytes so far."""
    with blobs.writing() as sink:
        tee = _Tee(sink, kind, tell)
        while piece := stream.read(CHUNK):
            tee.write(piece)
        diff_id = tee.finish()
    return Layer(Blob(sink.digest, sink.size), diff_id, kind, tee.size, title)


def with_ground(layer: Layer, ground: Ground) -> Layer:
    """Return the layer with what it lays."""
    return replace(layer, ground=ground)
