"""Every system call that changes the store, and the three ways to write a file that a crash cannot tear.

Foreign errors stop here: OSError leaves as StoreProblem with a way out. Tests put a failing disk in place of `Disk`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jup2kub.errors import StoreProblem

from . import process

TEMPORARY = ".tmp-"
_number = itertools.count()

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class Disk:
    """Thin: one method a system call."""

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        if self.durable:
            os.fsync(fd)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def mkdir(self, path: Path) -> None:
        path.mkdir(0o700)

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    def chmod(self, path: Path, mode: int) -> None:
        path.chmod(mode)

    def touch(self, path: Path, now: float) -> None:
        os.utime(path, (now, now))

    def append(self, path: Path, line: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)


def temporary(folder: Path) -> Path:
    """Return an unused name in the folder that says which process made it."""
    return folder / f"{TEMPORARY}{process.current().token}-{next(_number)}"


def owner(name: str) -> process.Process | None:
    """Return the process that made a temporary of this name, or None."""
    return process.parse(name[len(TEMPORARY) :]) if name.startswith(TEMPORARY) else None


def sync_folder(disk: Disk, folder: Path) -> None:
    """Make the folder's names durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(fd)
    finally:
        os.close(fd)


def write_temporary(disk: Disk, folder: Path, data: bytes, *, sync: bool = True) -> Path:
    """Return a complete, durable file of unused name in the folder."""
    path = temporary(folder)
    fd = disk.create(path)
    try:
        view = memoryview(data)
        while view:
            view = view[disk.write(fd, view) :]
        if sync:
            disk.sync(fd)
    except BaseException:
        discard(disk, path)
        raise
    finally:
        os.close(fd)
    return path


def replace(disk: Disk, path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write the file, whole or not at all, over whatever has the name."""
    made = write_temporary(disk, path.parent, data, sync=sync)
    try:
        disk.rename(made, path)
    except BaseException:
        discard(disk, made)
        raise
    if sync:
        sync_folder(disk, path.parent)


def write_once(disk: Disk, path: Path, data: bytes) -> bool:
    """Write the file, whole, if the name is free; of any number of writers exactly one gets True."""
    made = write_temporary(disk, path.parent, data)
    try:
        try:
            disk.link(made, path)
            won = True
        except FileExistsError:
            # A network file system may have made the link and lost the answer: then the file has two names.
            won = made.stat().st_nlink == 2
    finally:
        discard(disk, made)
    sync_folder(disk, path.parent)
    return won


def discard(disk: Disk, path: Path) -> None:
    """Remove a file if it is there and can be removed; a sweep gets the rest."""
    with contextlib.suppress(OSError):
        disk.unlink(path)


def make_folder(disk: Disk, path: Path) -> None:
    """Make one folder, durable, if it is not there; its parent must be."""
    if path.is_dir():
        return
    with contextlib.suppress(FileExistsError):
        disk.mkdir(path)
        sync_folder(disk, path.parent)


def probe(disk: Disk, folder: Path) -> None:
    """Refuse (StoreProblem J2K501) a file system on which a commit could not be exclusive."""
    first = write_temporary(disk, folder, b"probe")
    second = first.with_name(first.name + ".link")
    try:
        disk.link(first, second)
        with contextlib.suppress(FileExistsError):
            disk.link(first, second)
            raise OSError(errno.ENOTSUP, "a second link to the same name succeeded")
        with lock(second, exclusive=True):
            pass
    except OSError as e:
        if e.errno in _FULL:
            raise
        raise StoreProblem(
            "J2K501",
            f"the file system of {folder} has no exclusive link or lock ({e.strerror}); two runs could not be kept apart",
            "put the store on a local disk with --store DIR (FAT, exFAT and some network shares cannot hold it)",
        ) from e
    finally:
        discard(disk, first)
        discard(disk, second)


@contextlib.contextmanager
def lock(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """Hold a lock on the file, made if absent. Raises BlockingIOError if not `wait` and another holds it."""
    fd = take_lock(path, exclusive=exclusive, wait=wait)
    try:
        yield
    finally:
        os.close(fd)


def take_lock(path: Path, *, exclusive: bool, wait: bool = True) -> int:
    """Return a descriptor that holds the lock until it is closed, or its process dies."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def translated(root: Path) -> Iterator[None]:
    """Turn an OSError into the StoreProblem that a user can act on."""
    try:
        yield
    except OSError as e:
        raise problem(root, e) from e


def problem(root: Path, e: OSError) -> StoreProblem:
    """Return the error that says what is wrong with the medium, and the way out."""
    if e.errno in _FULL:
        return StoreProblem(
            "J2K503",
            f"no space left for the store {root} ({_free(root)} free); nothing half-written counts",
            "free some with `jup2kub clean`, or choose another disk with --store DIR; then run again: it continues",
        )
    if e.errno in _DENIED:
        return StoreProblem(
            "J2K502",
            f"the store {root} cannot be written: {e.strerror} ({e.filename or root})",
            "choose a folder of your own with --store DIR",
        )
    if e.errno in _NO_FOLDER:
        return StoreProblem(
            "J2K504",
            f"{root} cannot be a store: {e.strerror} ({e.filename or root})",
            "name an empty or a new folder with --store DIR",
        )
    return StoreProblem(
        "J2K508", f"the store {root} failed: {e}", "see whether the disk is still there, then run again"
    )


def _free(root: Path) -> str:
    for folder in (root, *root.parents):
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB"
    return "unknown"
