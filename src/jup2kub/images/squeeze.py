"""Compression whose output depends on nothing but its input: zstd where it can be had, else gzip."""

from __future__ import annotations

import struct
import zlib
from typing import IO, Any, Protocol, cast

try:
    import zstandard
except ImportError:  # the extra `images` is not installed
    zstandard = None  # type: ignore[assignment]

ZSTD_LEVEL = 3
GZIP_LEVEL = 1
"""gzip takes most of a build's time; level 6 is three times slower and saves a tenth."""
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952: no name, time 0, system unknown."""


class Compressor(Protocol):
    """Takes bytes, gives bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready."""

    def flush(self) -> bytes:
        """Return the rest."""


class Gzip:
    """A gzip stream (RFC 1952) without name and time."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = 0
        self._size = 0
        self._head = GZIP_HEADER

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        """Return the rest: the end of the stream, checksum and size."""
        head, self._head = self._head, b""
        return head + self._deflate.flush() + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def kinds() -> tuple[str, ...]:
    """Return the compressions that this machine has, the best first."""
    return ("zstd", "gzip") if zstandard is not None else ("gzip",)


def compressor(kind: str) -> Compressor:
    """Return a compressor of `kind` (`zstd` or `gzip`). Raises ValueError for a kind this machine does not have."""
    if kind == "gzip":
        return Gzip()
    if kind == "zstd" and zstandard is not None:
        # One worker at least: its blocks, and so its bytes, differ from those of none; their number changes nothing.
        made: Any = zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=2)
        return made.compressobj()  # type: ignore[no-any-return]
    raise ValueError(f"no compression {kind!r}")


def zstd_reader(packed: IO[bytes]) -> IO[bytes] | None:
    """Return what a file compressed by zstd holds; None = this machine cannot read it."""
    if zstandard is None:
        return None
    return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True))


def media_type(kind: str) -> str:
    """Return the media type of a layer (image-spec, “Layer media types”); an empty `kind` is a plain tar."""
    return (
        f"application/vnd.oci.image.layer.v1.tar+{kind}" if kind else "application/vnd.oci.image.layer.v1.tar"
    )
