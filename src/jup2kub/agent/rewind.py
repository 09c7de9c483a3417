"""What a run has changed in the project folder, kept until the run is done, so that it can be taken back.

One folder for each execution of a cell, numbered as they began; what lies in it is the affair of `undo`. A main line
that comes back, in this process or a later one, takes everything back first; then committed cells put their files in
place again, and the others run again: the files are those of one sequential run.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from jup2kub.agent.undo import changes, restore
from jup2kub.store.disk import problem

LEFT = "left.json"


class UndoLog:
    """The executions of one run, in the order in which they began."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(max((number for number, _, _ in self._folders()), default=0) + 1)

    def _folders(self) -> list[tuple[int, int, Path]]:
        """Return number, cell and folder of each execution, in order."""
        found = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            number, _, cell = path.name.partition("-")
            if number.isdigit() and cell.isdigit():
                found.append((int(number), int(cell), path))
        return sorted(found)

    def begin(self, cell: int) -> Path:
        """Return the folder for what the cell is about to overwrite."""
        folder = self.root / f"{next(self._numbers):06}-{cell}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise problem(self.root, error) from error
        return folder

    def take_back(self, cells: Iterable[int] | None = None) -> None:
        """Undo, latest first, what these cells changed (default: all), but for files that others touched since."""
        wanted = None if cells is None else set(cells)
        touched = self._touched()
        for _, cell, folder in reversed(self._folders()):
            if wanted is None or cell in wanted:
                restore(folder, leave=touched)
                shutil.rmtree(folder, ignore_errors=True)
        if wanted is None:
            (self.root / LEFT).unlink(missing_ok=True)

    def leave(self) -> None:
        """The process ends before the run is done: note how the changed files are, to know them again."""
        paths = {p for _, _, folder in self._folders() for p in changes(folder)}
        if self.root.is_dir():
            (self.root / LEFT).write_text(json.dumps({p: _state(p) for p in sorted(paths)}))

    def _touched(self) -> frozenset[str]:
        try:
            left = json.loads((self.root / LEFT).read_text())
        except (OSError, ValueError):
            return frozenset()
        return frozenset(p for p, state in left.items() if _state(p) != state)

    def forget(self) -> None:
        """What was changed stays."""
        shutil.rmtree(self.root, ignore_errors=True)


def _state(path: str) -> list[int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_mode, found.st_size, found.st_mtime_ns]
