"""How a kernel process ends: as Python does as far as that can be seen, without the rest, which takes long."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import stat
import sys
import threading
from typing import Any

_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_INHERITED: dict[int, tuple[int, int]] = {}
"""What this process had open when it began: device and file by descriptor."""


def begin() -> None:
    """Take down what is open, in a kernel that starts or is a fresh copy: it is not the notebook's, or not the copy's."""
    _INHERITED.clear()
    _INHERITED.update(_open_files())


def forget_inherited() -> None:
    """In a copy: what was to be done when the original ends is not the copy's to do."""
    atexit._clear()
    begin()


def leave(namespace: dict[str, Any], is_copy: bool, over: bool = True) -> None:
    """End this process. Never returns.

    The notebook's functions for the end are called, its objects are dropped and its files are written out. A copy
    does that for what was made in it only: what it inherited belongs to the original, which lives on. Objects are
    dropped only when the notebook is `over`: in any other kernel they stand for those of the main one.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if over and not is_copy:
            namespace.clear()
            gc.collect()
        _write_out()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.flush()
        os._exit(0)


def _write_out() -> None:
    """Flush every file that was opened here."""
    mine = {fd for fd, file in _open_files().items() if _INHERITED.get(fd) != file}
    if not mine:
        return
    found = [obj for obj in gc.get_objects() if issubclass(type(obj), _BUFFERED)]
    for file in sorted(
        found, key=lambda one: not isinstance(one, io.TextIOWrapper)
    ):  # text goes through bytes
        with contextlib.suppress(ValueError, OSError):
            if file.fileno() in mine:
                file.flush()


def _open_files() -> dict[int, tuple[int, int]]:
    found = {}
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            if not stat.S_ISSOCK(status.st_mode) and stat.S_IFMT(status.st_mode):
                found[int(name)] = (status.st_dev, status.st_ino)
    return found
