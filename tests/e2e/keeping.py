"""Looks into everything that a command has written: archives in archives, whatever compresses them."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import zstandard

ZSTD = b"\x28\xb5\x2f\xfd"


def inside(data: bytes, place: str) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes themselves, and all that they hold, decompressed, each with its place."""
    yield place, data
    if data[:2] == b"\x1f\x8b":
        yield from inside(gzip.decompress(data), f"{place}|gunzip")
    elif data[:4] == ZSTD:
        stream = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
        yield from inside(stream.read(), f"{place}|zstd")
    elif data[:6] == b"\xfd7zXZ\x00":
        yield from inside(lzma.decompress(data), f"{place}|xz")
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield f"{place}!{name}", archive.read(name)
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                yield (
                    f"{place}!{member.name} (its name)",
                    repr((member.name, member.linkname, member.pax_headers)).encode(),
                )
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield from inside(file.read(), f"{place}!{member.name}")


def places_of(needles: dict[str, bytes], *roots: Path) -> dict[str, list[str]]:
    """Return where each needle is, in every byte of the files below `roots`."""
    found: dict[str, list[str]] = {}
    for root in roots:
        for path in sorted(p for p in (root.rglob("*") if root.is_dir() else [root]) if p.is_file()):
            for place, data in inside(path.read_bytes(), str(path)):
                for name, needle in needles.items():
                    if needle in data:
                        found.setdefault(name, []).append(place)
    return found


def unpack(archive: Path, folder: Path) -> Path:
    """Lay the layers of an archive's first image over each other, as a container engine does; return the folder."""
    import json

    with tarfile.open(archive) as outer:

        def member(name: str) -> bytes:
            file = outer.extractfile(name)
            assert file is not None
            return file.read()

        for layer in json.loads(member("manifest.json"))[0]["Layers"]:
            data = member(layer)
            plain = list(inside(data, layer))[1][1] if data[257:262] != b"ustar" else data
            with tarfile.open(fileobj=io.BytesIO(plain)) as inner:
                inner.extractall(folder, filter="fully_trusted")
    return folder
