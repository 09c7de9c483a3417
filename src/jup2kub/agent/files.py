"""Files that a cell wrote: kept with its commit, and put in place when the commit is adopted."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from jup2kub.agent.observed import file_digest
from jup2kub.agent.undo import keep
from jup2kub.store import Store

FileImage = Optional[Mapping[str, Any]]


def post_images(project: Path, names: Iterable[str], store: Store) -> dict[str, FileImage]:
    """Store the present content of each file; None stands for a file that is gone. Folders are not kept.

    Paths are relative to `project`, or absolute if outside it (those are left alone: effects are not undone).
    """
    images: dict[str, FileImage] = {}
    for name in sorted(set(names)):
        path = project / name
        if os.path.isabs(name) or path.is_dir():
            continue
        if not path.is_file():
            images[name] = None
            continue
        handle, copy = tempfile.mkstemp(dir=store.staging())
        os.close(handle)
        shutil.copyfile(path, copy)
        stat = path.stat()
        size = os.path.getsize(copy)
        images[name] = {
            "sha256": store.adopt_blob(Path(copy)),
            "bytes": size,
            "mode": stat.st_mode & 0o777,
            "mtime": stat.st_mtime_ns,
        }
    return images


def put_back(project: Path, images: Mapping[str, FileImage], store: Store, undo: Path) -> None:
    """Make each file what its image says; a file that already is stays untouched.

    `undo`: folder that keeps what they were.
    """
    for name, image in images.items():
        path = project / name
        if image is None:
            if path.is_file():
                keep(undo, path)
                path.unlink()
        elif not _same(path, image):
            keep(undo, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, copy = tempfile.mkstemp(dir=path.parent, prefix=".jup2kub-")
            os.close(handle)
            shutil.copyfile(store.blob_path(image["sha256"], image["bytes"]), copy)
            os.chmod(copy, image["mode"])
            os.replace(copy, path)


def _same(path: Path, image: Mapping[str, Any]) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != image["bytes"] or stat.st_mode & 0o777 != image["mode"]:
        return False
    return stat.st_mtime_ns == image.get("mtime") or file_digest(path) == image["sha256"]
