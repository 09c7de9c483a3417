"""What a layer holds: entries by their path in the image, and the ground that lower layers have laid."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

MOST_LINKS = 40
"""Symbolic links followed before a path counts as a loop, as the kernel does (path_resolution(7))."""


class Stored(Protocol):
    """A file's content that stays where it is until the layer is written: it may be larger than the memory."""

    @property
    def size(self) -> int:
        """Bytes."""

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """Open it for reading, once from its begin to its end."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symbolic link of a layer; owner root, time 0."""

    path: str
    """In the image, from its root, without a leading slash."""
    content: bytes | Path | Stored | None = None
    """Of a regular file: its bytes, or the file on this machine or the archive that has them; None = a folder or link."""
    mode: int = 0o644
    target: str = ""
    """Of a symbolic link; empty = not a link."""

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder."""
        return self.content is None and not self.target


def folder(path: str, mode: int = 0o755) -> Entry:
    """Return a folder."""
    return Entry(clean(path), None, mode)


def link(path: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(clean(path), None, 0o777, target)


def file(path: str, content: bytes | Path | Stored, *, executable: bool = False) -> Entry:
    """Return a regular file with one of the two modes there are: umasks and archives differ in all others."""
    return Entry(clean(path), content, 0o755 if executable else 0o644)


def clean(path: str) -> str:
    """Return `path` from the root, without `.`, `..` and slashes at its ends."""
    return posixpath.normpath("/" + path).strip("/")


def parents(path: str) -> Iterator[str]:
    """Yield the folders above `path`, the highest first."""
    words = path.split("/")[:-1]
    for count in range(1, len(words) + 1):
        yield "/".join(words[:count])


@dataclass(frozen=True)
class Ground:
    """Folders and links that the layers below have made."""

    folders: Mapping[str, int] = field(default_factory=dict)
    """Mode by path."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Target by path."""

    def __add__(self, other: Ground) -> Ground:
        gone = other.folders.keys()
        links = {k: v for k, v in self.links.items() if k not in gone}
        return Ground({**self.folders, **other.folders}, {**links, **other.links})

    def place(self, path: str) -> str:
        """Return where `path` really lies: a link among its parents (`/lib` → `usr/lib`) is followed.

        A layer that named such a parent as a folder would replace the link, and hide what lies behind it.
        Raises ValueError for a loop of links.
        """
        for _ in range(MOST_LINKS):
            through = next((p for p in parents(path) if p in self.links), None)
            if through is None:
                return path
            path = clean(
                posixpath.join(posixpath.dirname(through), self.links[through], path[len(through) + 1 :])
            )
        raise ValueError(f"/{path}: too many symbolic links")


def settle(entries: Iterable[Entry], ground: Ground) -> list[Entry]:
    """Return `entries` as a layer above `ground`: at their true places, parents first, sorted, each path once.

    Parents that are not named are added, with the mode they have below: an upper layer's folder replaces the lower
    one's mode (image-spec, “Applying Changesets”), and `/tmp` would lose its 1777. Of two entries at one path the
    later wins. Raises ValueError if one path is both a folder and something else.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        at = ground.place(entry.path)
        if not at or (entry.is_folder and at in ground.links):
            continue
        mode = ground.folders.get(at, entry.mode) if entry.is_folder else entry.mode
        found[at] = Entry(at, entry.content, mode, entry.target)
    for path in list(found):
        for parent in parents(path):
            known = found.setdefault(parent, Entry(parent, None, ground.folders.get(parent, 0o755)))
            if not known.is_folder:
                raise ValueError(f"/{parent} is a file or link, and /{path} would lie in it")
    return [found[path] for path in sorted(found)]


def laid(entries: Iterable[Entry]) -> Ground:
    """Return the ground that settled entries make for the layers above."""
    folders: dict[str, int] = {}
    links: dict[str, str] = {}
    for entry in entries:
        if entry.is_folder:
            folders[entry.path] = entry.mode
        elif entry.target:
            links[entry.path] = entry.target
    return Ground(folders, links)
