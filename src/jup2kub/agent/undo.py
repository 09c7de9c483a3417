"""Puts files back as they were before a cell that was killed or given up changed them.

The kernel child keeps the undo folder: a journal, a line per change written before the change, and pre-images.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

JOURNAL = "journal"


def restore(undo: Path, leave: Collection[str] = ()) -> list[str]:
    """Undo, latest first, every change in the journal of folder `undo`; the folder is left as it is.

    Returns the absolute paths put back; those in `leave` are not. Doing it twice does no harm.
    """
    found = [entry for entry in _journal(undo) if entry["path"] not in leave]
    for entry in reversed(found):
        _put_back(entry, undo)
    return list(dict.fromkeys(entry["path"] for entry in reversed(found)))


def keep(undo: Path, path: Path) -> None:
    """Before the file is replaced or removed: keep what it is, in folder `undo`."""
    entry: dict[str, Any] = {"path": str(path), "was": "absent"}
    if path.is_symlink():
        entry.update(was="link", target=os.readlink(path))
    elif path.is_file():
        stat = path.stat()
        name = f"kept.{sum(1 for _ in undo.iterdir())}"
        shutil.copyfile(path, undo / name)
        entry.update(was="file", copy=name, mode=stat.st_mode & 0o7777, mtime=stat.st_mtime_ns)
    with open(undo / JOURNAL, "ab") as journal:
        journal.write(json.dumps(entry).encode("utf-8", "surrogateescape") + b"\n")


def changes(undo: Path) -> list[str]:
    """Return the absolute paths in the journal of folder `undo`."""
    return [entry["path"] for entry in _journal(undo)]


def _journal(undo: Path) -> list[dict[str, Any]]:
    """Return the journal's entries, oldest first.

    A missing folder or journal means that nothing was changed. A line that a kill has cut short is ignored: its change
    had not begun.
    """
    try:
        lines = (undo / JOURNAL).read_bytes().split(b"\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line.decode("utf-8", "surrogateescape")))
    return found


def _put_back(entry: Mapping[str, Any], undo: Path) -> None:
    path, was = Path(entry["path"]), entry["was"]
    if was == "absent":
        _remove(path)
    elif was == "folder":
        if not path.is_dir():
            _remove(path)
            path.mkdir(parents=True)
        path.chmod(entry["mode"])
    elif was == "link":
        _remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(entry["target"])
    elif was == "rights":
        with contextlib.suppress(OSError):
            path.chmod(entry["mode"])
    elif was == "moved":
        if Path(entry["target"]).is_dir() and not path.exists():
            Path(entry["target"]).rename(path)
    elif was == "longer":
        if path.is_file() and path.stat().st_size >= entry["size"]:
            os.truncate(path, entry["size"])
            os.utime(path, ns=(entry["mtime"], entry["mtime"]))
    elif (undo / entry["copy"]).is_file():
        _put_file(path, undo / entry["copy"], entry)


def _put_file(path: Path, copy: Path, entry: Mapping[str, Any]) -> None:
    """Bring the file back by a rename, so that a second kill leaves the one or the other."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.undo")
    shutil.copyfile(copy, part)
    part.chmod(entry["mode"])
    os.utime(part, ns=(entry["mtime"], entry["mtime"]))
    part.replace(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder if it is empty: what else lies in it was made by others."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
