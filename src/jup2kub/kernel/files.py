"""What a cell does to files and to the world, from Python's audit events; and pre-images of files it changes.

Blind to what C libraries and child processes open by themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import site
import stat
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

JOURNAL = "journal"
"""In the undo folder: a line of JSON per change, written before the change.

`path`: absolute. `was`: what the path held before: ``file`` (`copy` names its content), ``longer`` (only appended to:
`size`), ``absent``, ``folder``, ``link`` (`target`), ``moved`` (it is now at `target`), ``rights``
(only its `mode` changes).
"""
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESS = frozenset(
    (
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "pty.spawn",
    )
)
LISTS = frozenset(("os.listdir", "os.scandir", "os.walk"))


def quiet_prefixes() -> tuple[str, ...]:
    """Folders of the interpreter, of libraries and of their caches: nothing in there is the notebook's."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.expanduser("~/.cache")}
    places.update(sysconfig.get_paths().values())
    with contextlib.suppress(AttributeError):
        places.update([*site.getsitepackages(), site.getusersitepackages()])
    places.update(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))
    for name in ("MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(name):
            places.add(os.environ[name])
    home = os.path.expanduser("~")
    places.update(os.path.join(home, p) for p in (".ipython", ".jupyter", ".config", ".matplotlib", ".fonts"))
    found = {os.path.abspath(p).rstrip(os.sep) + os.sep for p in places if p}
    found.update(("/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", "/usr/lib/", "/run/", "/var/cache/"))
    return tuple(sorted(found - {"/", home + os.sep, "/usr/local/"}))


class Files:
    """An audit hook that is deaf unless `begin` was called. One per process, for life."""

    def __init__(self) -> None:
        self._quiet = quiet_prefixes()
        self._temporary = os.path.abspath(tempfile.gettempdir()) + os.sep
        self._active = False
        self._copies = 0
        self._undo: str | None = None
        self._journaled: dict[str, int | None] = {}
        self._project = ""
        self.clear()
        self.sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        """Sockets that the notebook has bound to an address."""
        sys.addaudithook(self._hook)

    @property
    def project(self) -> str:
        """The project folder of the running cell."""
        return self._project

    def clear(self) -> None:
        """Forget what was seen."""
        self.read: dict[str, None] = {}
        self.written: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.effects: set[str] = set()

    def begin(self, project: str, undo: str | None) -> None:
        """Listen from now on. `project`: absolute folder. `undo`: folder for pre-images of files in it; None = keep none."""
        self.clear()
        self._project = os.path.abspath(project).rstrip(os.sep) + os.sep
        self._undo, self._journaled = undo, {}
        if undo:
            os.makedirs(undo, exist_ok=True)
        self._active = True

    def end(self) -> None:
        """Stop listening."""
        self._active = False
        if self._undo:
            self._add_of_children(os.path.join(self._undo, JOURNAL))
        self._undo = None

    def _add_of_children(self, journal: str) -> None:
        # Processes that the cell has forked off write into the same journal.
        with contextlib.suppress(OSError, ValueError), open(journal, "rb") as file:
            for line in file:
                self.written[json.loads(line.decode("utf-8", "surrogateescape"))["path"]] = None

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Not hear what the kernel itself does while a cell runs."""
        active, self._active = self._active, False
        try:
            yield
        finally:
            self._active = active

    def named(self, paths: Any) -> list[str]:
        """Return `paths` relative to the project folder where they lie inside it."""
        inside = self._project
        return [p[len(inside) :] or "." if (p + os.sep).startswith(inside) else p for p in paths]

    def concerns(self, path: str) -> bool:
        """Return whether a file is the notebook's affair, and not the interpreter's, a library's or a cache's."""
        return bool(self._path(path))

    def lasting(self) -> list[str]:
        """Return the written paths, without temporary files that are gone again."""
        return [p for p in self.written if not p.startswith(self._temporary) or os.path.lexists(p)]

    def outside(self) -> bool:
        """Whether something outside the project folder and the system's temporary one was written."""
        return any(not p.startswith((self._project, self._temporary)) for p in self.written)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            self._guarded(self._open, args)
        elif event in PROCESS:
            self.effects.add("process")
        elif event.startswith("socket."):
            self._socket(event, args)
        elif event in (
            "os.remove",
            "os.rename",
            "os.rmdir",
            "os.mkdir",
            "os.truncate",
            "os.chmod",
            "os.link",
            "os.symlink",
        ):
            self._guarded(getattr(self, "_" + event[3:]), args)
        elif event in LISTS or event == "sqlite3.connect":
            self._guarded(self._sqlite if event == "sqlite3.connect" else self._list, args)

    def _guarded(self, handle: Any, args: tuple[Any, ...]) -> None:
        # Our own file work must not be heard; paths that cannot be understood are not ours to refuse, nor is a cell to
        # fail because there is no room for what its files were.
        self._active = False
        try:
            handle(*args)
        except (TypeError, ValueError, RecursionError, OSError):
            pass
        finally:
            self._active = True

    def _path(self, path: Any, folder: Any = -1) -> str:
        """Return the absolute path; empty = not the notebook's affair."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}") if os.path.exists(f"/proc/self/fd/{path}") else ""
        path = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(path):
            base = f"/proc/self/fd/{folder}"
            if not os.path.exists(base):
                return ""
            path = os.path.join(os.readlink(base), path)
        full = os.path.abspath(path) if path else ""
        if full.startswith(self._quiet) and not full.startswith(self._project):
            return ""
        if any(full.startswith(q) and len(q) > len(self._project) for q in self._quiet):
            return ""
        if "__pycache__" in full or full.endswith((".pyc", ".pyo")) or "/ipykernel_" in full:
            return ""
        return full

    def _open(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        full = self._path(path)
        if not full:
            return
        text = mode if isinstance(mode, str) else ""
        flags = flags if isinstance(flags, int) else 0
        writes = any(c in text for c in "wax+") or bool(flags & WRITE_FLAGS)
        if not writes:
            if os.path.lexists(full):
                self.read[full] = None
            elif mode is not None:  # os.open may be relative to a folder that the event does not tell
                self.absent[full] = None
            return
        keeps = not (text[:1] in ("w", "x") or flags & (os.O_TRUNC | os.O_EXCL))
        if keeps and os.path.lexists(full) and full not in self.written:
            self.read[full] = None
        self._change(full, append="a" in text or bool(flags & os.O_APPEND))

    def _list(self, path: Any = None) -> None:
        caller = sys._getframe(3)
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            return
        full = self._path("." if path is None else path)
        if full:
            (self.read if os.path.isdir(full) else self.absent)[full] = None

    def _sqlite(self, database: Any) -> None:
        name = os.fsdecode(database)
        if name in ("", ":memory:") or name.startswith("file:"):
            return
        full = self._path(name)
        if full:
            if os.path.exists(full):
                self.read[full] = None
            for extra in ("", "-journal", "-wal", "-shm"):
                if not extra or os.path.exists(full + extra):
                    self._change(full + extra)

    def _remove(self, path: Any, folder: Any = -1) -> None:
        full = self._path(path, folder)
        if full:
            self._change(full, gone=True)

    def _rmdir(self, path: Any, folder: Any = -1) -> None:
        self._remove(path, folder)

    def _mkdir(self, path: Any, mode: Any = 0, folder: Any = -1) -> None:
        full = self._path(path, folder)
        if full and not os.path.lexists(full):
            self._change(full)

    def _rename(self, source: Any, target: Any, source_folder: Any = -1, target_folder: Any = -1) -> None:
        old, new = self._path(source, source_folder), self._path(target, target_folder)
        if new:
            self._change(new, gone=True)
        if old and os.path.isdir(old) and new:
            self.written[old] = None
            self._note({"path": old, "was": "moved", "target": new})
        elif old:
            self._change(old)

    def _truncate(self, path: Any, length: Any = 0) -> None:
        full = self._path(path)
        if full:
            self._change(full)

    def _chmod(self, path: Any, mode: Any = 0, folder: Any = -1) -> None:
        full = self._path(path, folder)
        if not full:
            return
        if full not in self.written:
            self.read[full] = None  # for the content stays
        self.written[full] = None
        if full not in self._journaled:  # else what it was is kept, rights and all
            self._note({"path": full, "was": "rights", "mode": stat.S_IMODE(os.stat(full).st_mode)})

    def _link(self, source: Any, target: Any, source_folder: Any = -1, target_folder: Any = -1) -> None:
        full = self._path(target, target_folder)
        if full:
            self._change(full)

    def _symlink(self, source: Any, target: Any, folder: Any = -1) -> None:
        self._link(source, target, -1, folder)

    def _socket(self, event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = args[1] if len(args) > 1 else None
            if address is not None and not isinstance(address, (str, bytes)):
                self.effects.add("network")
        elif event == "socket.getaddrinfo":
            self.effects.add("network")
        elif event == "socket.bind":
            with contextlib.suppress(TypeError):
                self.sockets.add(args[0])

    def _change(self, full: str, append: bool = False, gone: bool = False) -> None:
        """Note that the content of `full` is about to change, and keep what it held. `gone`: only its name goes."""
        self.written[full] = None
        if not self._undo or not full.startswith(self._project):
            return
        if full in self._journaled:
            size = self._journaled[full]
            if size is not None and not append:
                self._keep(full, size=size)
            return
        self._journaled[full] = None
        try:
            status = os.lstat(full)
        except OSError:
            self._note({"path": full, "was": "absent"})
            return
        if stat.S_ISLNK(status.st_mode):
            self._note({"path": full, "was": "link", "target": os.readlink(full)})
            real = os.path.realpath(full)
            if not gone and real != full and real.startswith(self._project):
                self._change(real, append)
        elif stat.S_ISDIR(status.st_mode):
            self._note({"path": full, "was": "folder", "mode": stat.S_IMODE(status.st_mode)})
        elif stat.S_ISREG(status.st_mode) and append:
            self._journaled[full] = status.st_size
            self._note({"path": full, "was": "longer", "size": status.st_size, "mtime": status.st_mtime_ns})
        elif stat.S_ISREG(status.st_mode):
            self._keep(full, gone=gone)

    def _keep(self, full: str, size: int | None = None, gone: bool = False) -> None:
        """Copy the file into the undo folder, cut to `size` if that is what it was."""
        assert self._undo is not None
        status = os.stat(full)
        self._journaled[full] = None
        self._copies += 1
        name = f"{os.getpid()}.{self._copies}"
        copy = os.path.join(self._undo, name)
        linked = False
        if gone:
            # The file itself does not change, it only loses its name: another name is enough.
            with contextlib.suppress(OSError):
                os.link(full, copy)
                linked = True
        if not linked:
            shutil.copyfile(full, copy + ".part")
            if size is not None:
                os.truncate(copy + ".part", size)
            os.replace(copy + ".part", copy)
        mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        self._note({"path": full, "was": "file", "copy": name, "mode": mode, "mtime": mtime})

    def _note(self, line: dict[str, Any]) -> None:
        if self._undo and line["path"].startswith(self._project):
            with open(os.path.join(self._undo, JOURNAL), "ab", buffering=0) as journal:
                journal.write(json.dumps(line).encode("utf-8", "surrogateescape") + b"\n")
