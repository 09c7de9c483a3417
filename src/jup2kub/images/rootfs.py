"""Looks into layers: what they lay as ground, and what some of their files hold."""

from __future__ import annotations

import gzip
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import squeeze
from jup2kub.images.tree import Ground, clean

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass
class Look:
    """What was found in a root file system."""

    ground: Ground = field(default_factory=Ground)
    files: set[str] = field(default_factory=set)
    """Regular files (hard links too) by path."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """Of those files that were asked for."""

    def has(self, path: str) -> bool:
        """Return whether there is a file at `path`, links followed."""
        return self.real(path) is not None

    def real(self, path: str) -> str | None:
        """Return the path of the regular file that `path` leads to; None = there is none."""
        for _ in range(40):
            path = self.ground.place(path)
            if path in self.files:
                return path
            if path not in self.ground.links:
                return None
            path = clean(posixpath.join(posixpath.dirname(path), self.ground.links[path]))
        return None


def kind_of(path: Path) -> str:
    """Return how a tar is compressed, by its first bytes: `gzip`, `zstd`, or empty."""
    with path.open("rb") as opened:
        head = opened.read(4)
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    return "zstd" if head == b"\x28\xb5\x2f\xfd" else ""


@contextmanager
def plain(path: Path) -> Iterator[IO[bytes]]:
    """Open a tar for reading, whatever compressed it. Raises EnvironmentProblem (J2K612) if nothing here reads it."""
    with path.open("rb") as packed, opened(packed, path) as stream:
        yield stream


@contextmanager
def opened(packed: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """Give what an open file at `path` holds, whatever compressed it. Raises EnvironmentProblem (J2K612)."""
    kind = kind_of(path)
    if kind == "gzip":
        with gzip.open(packed) as inflated:
            yield cast(IO[bytes], inflated)
    elif kind == "zstd":
        unpacked = squeeze.zstd_reader(packed)
        if unpacked is None:
            raise EnvironmentProblem(
                "J2K612", f"{path.name} is compressed by zstd", "pip install 'jup2kub[images]'"
            )
        with unpacked:
            yield unpacked
    else:
        yield packed


def look(layers: Iterable[Path], want: Callable[[str], bool]) -> Look:
    """Read the tars of layers, the lowest first; keep the content of files whose path is wanted.

    Raises EnvironmentProblem (J2K612) if one of them is no tar.
    """
    found = Look()
    for path in layers:
        try:
            with plain(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    _take(found, archive, member, want)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
            raise EnvironmentProblem(
                "J2K612",
                f"{path} cannot be read as a root file system: {error}",
                "give a tar, or a registry image",
            ) from error
    return found


def _take(
    found: Look, archive: tarfile.TarFile, member: tarfile.TarInfo, want: Callable[[str], bool]
) -> None:
    path = clean(member.name)
    if not path:
        return
    folder, name = posixpath.split(path)
    if name == OPAQUE:
        _remove(found, folder, itself=False)
        return
    if name.startswith(WHITEOUT):
        _remove(found, posixpath.join(folder, name[len(WHITEOUT) :]), itself=True)
        return
    folders, links = cast(dict[str, int], found.ground.folders), cast(dict[str, str], found.ground.links)
    if member.isdir():
        folders[path] = member.mode & 0o7777
        links.pop(path, None)
    elif member.issym():
        links[path] = member.linkname
        found.files.discard(path)
    elif member.isreg() or member.islnk():
        found.files.add(path)
        links.pop(path, None)
        if want(path):
            data = found.contents.get(clean(member.linkname)) if member.islnk() else None
            if data is None and member.isreg():
                data = cast(IO[bytes], archive.extractfile(member)).read()
            if data is not None:
                found.contents[path] = data


def _remove(found: Look, path: str, itself: bool) -> None:
    """Take away what lies below `path`, as a whiteout asks (image-spec, “Whiteouts”)."""

    def gone(at: str) -> bool:
        return at.startswith(path + "/") or (itself and at == path)

    folders, links = cast(dict[str, int], found.ground.folders), cast(dict[str, str], found.ground.links)
    for table in (folders, links, found.contents):
        for at in [p for p in table if gone(p)]:
            del table[at]
    found.files -= {p for p in found.files if gone(p)}
