"""Keeps a child from acting on the world ahead of the iterations before it, and its files from outliving a retreat."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import Any, Callable

from .mapfolds import NotIndependent

_ACTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.bind",
)
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "shutil.rmtree",
    "shutil.move",
    "sqlite3.connect",
)
JOURNAL = "journal."


class Guard:
    """An audit hook of the child: writing a whole file is journaled, other changes and reaching out are stopped.

    `folder` takes the journal: a line per file before its first change, with a copy of what it held.
    """

    def __init__(self, folder: str, asked: bool, quiet: Callable[[], Any]) -> None:
        self.folder, self.asked, self.quiet = folder, asked, quiet
        self.active = False
        self.index = 0
        self.reason = ""
        """Why the running iteration must run alone, in order; empty = it may run here."""
        self.files: list[str] = []
        """Files that the running iteration wrote, absolute."""
        self._copies = 0

    def install(self) -> None:
        """Hook into this process for the rest of its life."""
        sys.addaudithook(self._hook)

    def start(self, index: int) -> None:
        """Forget the iteration before."""
        self.index, self.reason, self.files = index, "", []

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            self._open(*args)
        elif event == "os.rename":
            self._rename(os.path.abspath(os.fsdecode(args[0])), os.path.abspath(os.fsdecode(args[1])))
        elif event == "os.mkdir":
            self._journal(os.path.abspath(os.fsdecode(args[0])))
        elif event in _CHANGES:
            if event != "os.remove" or os.path.abspath(os.fsdecode(args[0])) not in self.files:
                self._stop(f"changes files ({event} of `{args[0]}`)")
        elif event in _ACTS and not self.asked:
            self._stop(f"acts on the world outside ({event})")

    def _rename(self, source: str, target: str) -> None:
        if source not in self.files:
            self._stop(f"renames `{source}`")
        self._journal(target)

    def _open(self, path: Any, mode: Any, flags: Any) -> None:
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        if not writes or not isinstance(path, (str, bytes, os.PathLike)):
            return
        full = os.path.abspath(os.fsdecode(path))
        if full.startswith(("/dev/", "/proc/")) or full in self.files:
            return
        # C libraries open by themselves, with flags of their own: what Python reports is the mode
        whole = flags & (os.O_TRUNC | os.O_EXCL) or (isinstance(mode, str) and mode[:1] in ("w", "x"))
        if os.path.lexists(full) and not whole:
            self._stop(f"changes a part of the file `{os.fsdecode(path)}`")
        self._journal(full)

    def _journal(self, path: str) -> None:
        if path in self.files:
            return
        self.active = False
        with self.quiet():
            self._copy(path)
        self.files.append(path)
        self.active = True

    def _copy(self, path: str) -> None:
        copy = ""
        if os.path.isfile(path):
            self._copies += 1
            copy = os.path.join(self.folder, f"before.{os.getpid()}.{self._copies}")
            shutil.copy2(path, copy)
        elif os.path.lexists(path):
            copy = path  # a folder that is there stays
        with open(os.path.join(self.folder, JOURNAL + str(os.getpid())), "a") as journal:
            journal.write(json.dumps([self.index, path, copy]) + "\n")

    def _stop(self, why: str) -> None:
        self.reason = self.reason or why
        raise NotIndependent(why)


def take_back(folder: str, indices: Any) -> None:
    """Undo what children wrote in the iterations `indices` (a container of int), latest first."""
    lines: list[Any] = []
    for name in sorted(n for n in os.listdir(folder) if n.startswith(JOURNAL)):
        with open(os.path.join(folder, name)) as journal:
            lines.extend(json.loads(line) for line in journal if line.endswith("\n"))
    for index, path, copy in reversed(lines):
        if index not in indices or copy == path:
            continue
        with contextlib.suppress(OSError):
            if copy:
                shutil.copy2(copy, path)
            elif os.path.isdir(path):
                os.rmdir(path)
            else:
                os.unlink(path)
