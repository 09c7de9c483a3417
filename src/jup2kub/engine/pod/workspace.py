"""The project folder of an agent: filled from the store, and compared with what it was filled with.

Files leave a pod only by commits; so what is written here and belongs to none is noticed, and nothing is lost unseen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jup2kub.agent.files import FileImage, post_images
from jup2kub.store import Record, Store

Mark = tuple[int, int]
"""Size, and time of the last change in ns."""
IGNORED = frozenset({"__pycache__", ".ipynb_checkpoints"})


class Workspace:
    """One folder. The files of `base` are the project's as the run found them."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        base: Mapping[str, FileImage],
        folders: Iterable[str] = (),
        foreign: frozenset[str] | None = None,
    ) -> None:
        self.folder, self._store, self._base, self._folders = folder, store, base, tuple(folders)
        self._placed: dict[str, tuple[Mark | None, str]] = {}
        """Files whose content is known: their mark, and the digest; no mark = it is gone, and is to be."""
        self._images: dict[str, tuple[Mark, FileImage]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.foreign: frozenset[str] = frozenset()
        """Files that lay there before the first workspace of this process: they are nobody's, and are left alone."""
        self.foreign = frozenset(self.marks()) if foreign is None else foreign

    def bring(
        self,
        over: Mapping[str, FileImage],
        folders: Iterable[str] = (),
        touches: Callable[[str], bool] | None = None,
    ) -> None:
        """Make the folder what the project is with files and folders put upon it.

        `touches`: others are at work in it, and only files of which this is true are brought: those that the cell may
        touch, from which the plan keeps the others. What else lies there may be newer. None = nobody else is there.
        """
        wanted = {n: image for n, image in {**self._base, **over}.items() if touches is None or touches(n)}
        for name in (*self._folders, *folders):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        found = self.marks()
        for name in found:
            if wanted.get(name) is None and (touches is None or touches(name)):
                (self.folder / name).unlink()
                self.know([name], {})
        for name, image in wanted.items():
            if image is None:
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).unlink()
                self.know([name], {})
            elif self._placed.get(name) != (found.get(name), image["sha256"]):
                self._place(name, image)

    def _place(self, name: str, image: Mapping[str, Any]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, copy = tempfile.mkstemp(dir=path.parent, prefix=".jup2kub-")
        os.close(handle)
        shutil.copyfile(self._store.blob_path(image["sha256"], image["bytes"]), copy)
        os.chmod(copy, image["mode"])
        if image.get("mtime"):
            os.utime(copy, ns=(image["mtime"], image["mtime"]))
        os.replace(copy, path)
        self.know([name], {name: image})

    def changed(self, before: Mapping[str, Mark]) -> set[str]:
        """Return the files that are not as they were at these marks, and were not brought since."""
        after = self.marks()
        brought = {name for name, (mark, _) in list(self._placed.items()) if after.get(name) == mark}
        return {n for n in {*before, *after} if before.get(n) != after.get(n)} - brought

    def know(self, names: Iterable[str], images: Mapping[str, FileImage]) -> None:
        """Take it that these files are what their images say."""
        for name in names:
            image = images.get(name)
            try:
                stat = (self.folder / name).stat()
            except OSError:
                self._placed[name] = (None, "")
                continue
            if image is not None:
                self._placed[name] = ((stat.st_size, stat.st_mtime_ns), image["sha256"])

    def marks(self) -> dict[str, Mark]:
        """Return size and time of every file, by path relative to the folder; volumes mounted below it are left out."""
        found: dict[str, Mark] = {}
        for place, _, names in self._walk():
            for name in names:
                path = os.path.join(place, name)
                inner = os.path.relpath(path, self.folder)
                with contextlib.suppress(OSError):
                    stat = os.lstat(path)
                    if os.path.isfile(path) and inner not in self.foreign:
                        found[inner] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _walk(self) -> Iterator[tuple[str, list[str], list[str]]]:
        device = os.stat(self.folder).st_dev
        for place, folders, names in os.walk(self.folder):
            kept = []
            for name in sorted(folders):
                with contextlib.suppress(OSError):
                    if name not in IGNORED and os.lstat(os.path.join(place, name)).st_dev == device:
                        kept.append(name)
            folders[:] = kept
            yield place, folders, names

    def folders(self) -> list[str]:
        """Return every folder below this one, relative to it."""
        found = []
        for place, folders, _ in self._walk():
            found += [os.path.relpath(os.path.join(place, name), self.folder) for name in folders]
        return found

    def changes(self) -> dict[str, FileImage]:
        """Return, kept in the store, every file that is not as the project was; None = it is gone."""
        found = self.marks()
        changed: dict[str, FileImage] = {
            name: None for name, image in self._base.items() if image and name not in found
        }
        for name, mark in found.items():
            base = self._base.get(name)
            if base is not None and self._placed.get(name) == (mark, base["sha256"]):
                continue
            known = self._images.get(name)
            if known is None or known[0] != mark:
                known = self._images[name] = (mark, post_images(self.folder, [name], self._store)[name])
            if base is None or known[1] is None or known[1]["sha256"] != base["sha256"]:
                changed[name] = known[1]
        return changed


def made_folders(record: Record) -> list[str]:
    """Return the folders that a cell made: it wrote them, and they have no content to keep."""
    written = record["facts"]["files_written"]
    return [name for name in written if name not in record["files"] and not os.path.isabs(name)]
