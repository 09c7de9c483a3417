"""Blobs in a folder: `blobs/<first two digits>/<sha256>`, and the memory of which were found whole.

A blob's size is checked whenever it is asked for. Its digest is checked once per boot of the machine, and again after
a process that used the store died without saying good-bye: only a crash can have left a file whose size is right and
whose content is not.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Callable

from jup2kub.errors import StoreProblem

from . import Missing, process
from .disk import Disk, discard, lock, make_folder, replace, sync_folder, temporary, write_temporary
from .trust import Key, NotTrustedError

CHUNK = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
Print = tuple[int, int, int, int, int]
"""Device, inode, size, time of the content's and of the inode's last change in ns: what a change of the file changes."""


def print_of(found: os.stat_result) -> Print:
    """Return what tells the file from any altered one."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Verified:
    """Which files were found to have which digest, in this boot; kept in a file of signed lines."""

    def __init__(self, disk: Disk, folder: Path, key: Key) -> None:
        self._disk, self._key = disk, key
        self._path = folder / process.BOOT
        self._known: dict[str, Print] = {}
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):
            lines = self._path.read_bytes().splitlines(keepends=True)
            for line in lines:
                self._take(line)
            if len(lines) > 1000 + 4 * len(self._known):
                # What another process appends meanwhile is lost, and then found out once more.
                replace(
                    disk, self._path, b"".join(self._line(*item) for item in self._known.items()), sync=False
                )

    def _line(self, sha256: str, seen: Print) -> bytes:
        line, mac = self._key.seal("verified", {"sha256": sha256, "print": list(seen)}).splitlines()
        return line + b" " + mac + b"\n"

    def _take(self, line: bytes) -> None:
        text, _, mac = line.rpartition(b" ")
        with contextlib.suppress(NotTrustedError, ValueError):
            entry = self._key.unseal("verified", text + b"\n" + mac)
            self._known[entry["sha256"]] = tuple(entry["print"])

    def __contains__(self, item: tuple[str, Print]) -> bool:
        with self._lock:
            return self._known.get(item[0]) == item[1]

    def add(self, sha256: str, seen: Print) -> None:
        """Remember; losing the memory only costs time."""
        with self._lock:
            self._known[sha256] = seen
        with contextlib.suppress(OSError):
            self._disk.append(self._path, self._line(sha256, seen))

    def forget(self) -> None:
        """Trust no digest any more."""
        with self._lock:
            self._known.clear()
        discard(self._disk, self._path)


class Blobs:
    """Content by its sha256. Raises OSError; `files` turns it into StoreProblem."""

    def __init__(self, disk: Disk, root: Path, key: Key, clock: Callable[[], float]) -> None:
        self._disk, self._clock = disk, clock
        self._root = root
        self.folder = root / "blobs"
        self._gate = root / "gate"
        self.verified = Verified(disk, root / "verified", key)

    def place(self, sha256: str) -> Path:
        """Return where the blob lies if it is there. Raises StoreProblem (J2K513) for what is no digest."""
        if not SHA256.fullmatch(sha256):
            raise StoreProblem("J2K513", f"{sha256!r} is not a sha256 of 64 lower-case hexadecimal digits")
        return self.folder / sha256[:2] / sha256

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self._keep(sha256, len(data)):
            folder = self._folder(sha256)
            self._publish(write_temporary(self._disk, folder, data), sha256)
        return sha256

    def adopt(self, path: Path, sha256: str | None, size: int | None, trusted: bool) -> str:
        with _regular(path) as (file, found):
            if size is not None and found.st_size != size:
                raise StoreProblem("J2K511", f"{path} has {found.st_size} bytes where its writer said {size}")
            if sha256 is None or not trusted:
                sha256 = _checked(file, path, sha256)
            if self._keep(sha256, found.st_size):
                discard(self._disk, path)
                return sha256
            folder = self._folder(sha256)
            self._disk.sync(file.fileno())
        try:
            self._publish(path, sha256)
        except OSError as e:
            if e.errno != errno.EXDEV:
                raise
            self._publish(self._copy(path, folder, sha256), sha256)
            discard(self._disk, path)
        return sha256

    def path(self, sha256: str, size: int) -> Path:
        """Return the file of a blob found whole. Raises Missing."""
        path = self.place(sha256)
        reason = self._torn(path, sha256, size)
        if reason:
            raise Missing(
                "J2K510", f"blob {sha256[:12]} of {size} bytes: {reason}", "run again: it is made anew"
            )
        return path

    def read(self, sha256: str, size: int | None) -> bytes:
        try:
            data = self.place(sha256).read_bytes()
        except FileNotFoundError:
            data = None
        if (
            data is None
            or (size is not None and len(data) != size)
            or hashlib.sha256(data).hexdigest() != sha256
        ):
            reason = "absent" if data is None else "torn or altered"
            raise Missing("J2K510", f"blob {sha256[:12]}: {reason}", "run again: it is made anew")
        return data

    def has(self, sha256: str, size: int) -> bool:
        return self._torn(self.place(sha256), sha256, size) is None

    def _torn(self, path: Path, sha256: str, size: int) -> str | None:
        """Return why the blob counts as absent; None = it is whole."""
        try:
            with _regular(path) as (file, found):
                if found.st_size != size:
                    return f"torn, {found.st_size} bytes are there"
                if (sha256, print_of(found)) in self.verified:
                    return None
                digest = _digest(file)
                if digest != sha256 or print_of(os.fstat(file.fileno())) != print_of(found):
                    return "its content was altered"
        except (FileNotFoundError, StoreProblem):
            return "absent"
        self.verified.add(sha256, print_of(found))
        return None

    def _keep(self, sha256: str, size: int) -> bool:
        """Return whether the blob is there, and if so save it from a sweep going on."""
        with lock(self._gate, exclusive=False):
            path = self.place(sha256)
            if self._torn(path, sha256, size) is not None:
                return False
            self._disk.touch(path, self._clock())
            self.verified.add(sha256, print_of(path.stat()))
            return True

    def _folder(self, sha256: str) -> Path:
        folder = self.folder / sha256[:2]
        make_folder(self._disk, folder)
        return folder

    def _publish(self, made: Path, sha256: str) -> None:
        path = self.place(sha256)
        try:
            self._disk.chmod(made, 0o400)
            self._disk.touch(made, self._clock())
            self._disk.rename(made, path)
        except OSError as e:
            if e.errno != errno.EXDEV:
                discard(self._disk, made)
            raise
        sync_folder(self._disk, path.parent)
        self.verified.add(sha256, print_of(path.stat()))

    def _copy(self, path: Path, folder: Path, sha256: str) -> Path:
        """Copy a file of another disk into the folder, its digest taken on the way."""
        made = temporary(folder)
        fd = self._disk.create(made)
        taken = hashlib.sha256()
        try:
            with open(path, "rb") as file:
                while data := file.read(CHUNK):
                    taken.update(data)
                    view = memoryview(data)
                    while view:
                        view = view[self._disk.write(fd, view) :]
            self._disk.sync(fd)
            if taken.hexdigest() != sha256:
                raise StoreProblem("J2K511", f"{path} is not what its writer said")
        except BaseException:
            discard(self._disk, made)
            raise
        finally:
            os.close(fd)
        return made


@contextlib.contextmanager
def _regular(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a file that is no link, device or folder. Raises StoreProblem (J2K511), FileNotFoundError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise StoreProblem("J2K511", f"{path} is a symbolic link, not a file") from e
        raise
    with open(fd, "rb", buffering=0, closefd=True) as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise StoreProblem("J2K511", f"{path} is not an ordinary file")
        yield file, found


def _digest(file: BinaryIO) -> str:
    taken = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while got := file.readinto(view):  # type: ignore[attr-defined]
        taken.update(view[:got])
    return taken.hexdigest()


def _checked(file: BinaryIO, path: Path, sha256: str | None) -> str:
    digest = _digest(file)
    if sha256 is not None and digest != sha256:
        raise StoreProblem("J2K511", f"{path} is not what its writer said: its digest is {digest[:12]}…")
    return digest
