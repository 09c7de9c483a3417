"""From the events of a trace to facts: which cell read and wrote what, which distributions and libraries were used."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from jup2kub.agent.spawn import CHILD
from jup2kub.capture import secrets
from jup2kub.capture.backends import Event
from jup2kub.capture.environment import Environment
from jup2kub.capture.wheels import file_sha256
from jup2kub.model.env import DataFile, SystemLibrary

SYSTEM = (
    "/usr/",
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/bin/",
    "/sbin/",
    "/etc/",
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
    "/var/cache/",
    "/var/lib/",
    "/var/run/",
)
CACHES = (
    "matplotlib",
    "fontconfig",
    "pip",
    "uv",
    "jedi",
    "numba",
    "jup2kub",
    "jup2kub-images",
    "mesa_shader_cache",
)
"""Of `~/.cache`: what software makes for itself. Others, as of models and data sets, hold what a notebook needs."""
LARGEST = 20_000
"""Files of the project whose state is noted before the run; of more than these, sizes and digests are not told."""


@dataclass
class Touched:
    """What was done to files, cell by cell; `before` is what ran before the first cell."""

    read: dict[str, set[int]] = field(default_factory=dict)
    """Cells by path."""
    written: dict[str, set[int]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    used: dict[str, None] = field(default_factory=dict)
    """Every path that was read or run, before the first cell too."""
    in_cells: dict[str, None] = field(default_factory=dict)
    """Those of them that a cell has read or run first, or again."""
    run: dict[str, None] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)


def by_cell(events: Iterable[Event], marks: str) -> Touched:
    """Sort the events by the sentinel files in folder `marks`: `<cell>.start`, `<cell>.end`.

    What happens after a cell's end and before the next one's start is a thread's or a child's that the cell has left.
    """
    found = Touched()
    cell: int | None = None
    for event in events:
        if event.kind == "connect":
            if cell is not None:
                found.hosts[event.path] = None
            continue
        folder, name = os.path.split(event.path)
        if folder == marks:
            number, _, edge = name.partition(".")
            if edge == "start":
                cell = int(number)
            continue
        if event.kind in ("read", "run"):
            found.used[event.path] = None
            if cell is not None:
                found.in_cells[event.path] = None
        if event.kind == "run":
            found.run[event.path] = None
        elif event.kind == "remove":
            found.removed.add(event.path)
        elif event.kind == "write" and cell is not None:
            found.written.setdefault(event.path, set()).add(cell)
            found.removed.discard(event.path)
        elif event.kind == "read" and cell is not None:
            found.read.setdefault(event.path, set()).add(cell)
    return found


@dataclass(frozen=True)
class Places:
    """Where what lies: tells data from software."""

    project: str
    """Absolute, with a slash at its end."""
    software: tuple[str, ...]
    """Folders of interpreters, libraries, their settings and caches; with slashes."""

    @classmethod
    def of(cls, environment: Environment, project: Path, ours: Iterable[Path] = ()) -> Places:
        """Return the places of this machine; `ours`: folders that watching itself uses."""
        home = os.path.expanduser("~")
        python = environment.python
        names = [python.prefix, python.base_prefix, environment.stdlib, str(CHILD), *map(str, ours)]
        names += [d.site for d in environment.distributions.values()]
        names += [place for d in environment.distributions.values() for place in d.editable.values()]
        names += [os.path.join(home, n) for n in (".ipython", ".jupyter", ".local/share/jupyter")]
        names += [os.path.join(home, ".cache", n) for n in CACHES]
        names += [os.path.join(home, ".config", n) for n in ("matplotlib", "ipython", "jupyter")]
        both = {p for n in names if n for p in (os.path.abspath(n), os.path.realpath(n))}
        return cls(
            os.path.realpath(project).rstrip("/") + "/",
            tuple(sorted(p.rstrip("/") + "/" for p in both if p != "/")),
        )

    def is_data(self, path: str) -> bool:
        """Whether a file is the notebook's affair. The innermost folder that is known decides."""
        inner = max((p for p in (*self.software, self.project) if path.startswith(p)), key=len, default="")
        own = inner == self.project if inner else not path.startswith(SYSTEM)
        name = os.path.basename(path)
        return own and not (
            "/__pycache__/" in path
            or name.endswith(".pyc")
            or "/ipykernel_" in path
            or path.startswith(os.path.join(tempfile.gettempdir(), "jup2kub-"))
            or fnmatchcase(name, "kernel-*.json")
        )

    def named(self, path: str) -> str:
        """Return the path relative to the project, or absolute if it is outside."""
        return path.removeprefix(self.project)


def state_of(project: Path, places: Places) -> dict[str, tuple[int, int]]:
    """Return (size, mtime in ns) of the project's files by absolute path, so that changes can be told afterwards."""
    found: dict[str, tuple[int, int]] = {}
    for folder, folders, names in os.walk(os.path.realpath(project)):
        folders[:] = [
            f for f in folders if f not in (".git", "__pycache__") and not _skips(folder, f, places)
        ]
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
            if len(found) >= LARGEST:
                return found
    return found


def _skips(folder: str, name: str, places: Places) -> bool:
    return os.path.join(folder, name) + "/" in places.software


def data_files(
    touched: Touched,
    places: Places,
    before: Mapping[str, tuple[int, int]],
    modules: Iterable[str],
    values: Iterable[bytes] = (),
) -> tuple[tuple[DataFile, ...], tuple[str, ...]]:
    """Return the data files, and in words those that must not travel. `modules`: files that are code, by real path."""
    code, values = frozenset(modules), tuple(values)
    found: list[DataFile] = []
    withheld: list[str] = []
    for path in sorted({*touched.read, *touched.written}):
        real = os.path.realpath(path)
        if real in code or os.path.isdir(path) or not places.is_data(path):
            continue
        exists = os.path.isfile(path)
        passing = path.startswith(tempfile.gettempdir() + "/") and not path.startswith(places.project)
        if not exists and (path not in touched.written or passing):
            continue
        why = forbidden(path, places, values) if exists else secrets.denied(path)
        if why:
            cells = ", ".join(map(str, sorted(touched.read.get(path, ()) or touched.written.get(path, ()))))
            withheld.append(f"{places.named(path)} (cell {cells}): {why}")
            continue
        found.append(_data_file(path, touched, places, before))
    return tuple(found), tuple(withheld)


def _data_file(
    path: str, touched: Touched, places: Places, before: Mapping[str, tuple[int, int]]
) -> DataFile:
    known = before.get(os.path.realpath(path))
    now: tuple[int, int] | None = None
    if os.path.isfile(path):
        status = os.stat(path)
        now = (status.st_size, status.st_mtime_ns)
    if known is None and path not in touched.written:
        known = now  # outside the project: only read, so it is what it was
    return DataFile(
        path=places.named(path),
        read_by=tuple(sorted(touched.read.get(path, ()))),
        written_by=tuple(sorted(touched.written.get(path, ()))),
        sha256=file_sha256(Path(path)) if known is not None and known == now else None,
        bytes=known[0] if known is not None else None,
    )


def forbidden(path: str, places: Places, values: Iterable[bytes] = ()) -> str:
    """Return why a file that exists must not travel; empty = it may.

    By its name; or below the home folder, hidden, and no part of the interpreter; or by what is in it.
    """
    reason = secrets.denied(path) or secrets.denied(os.path.realpath(path))
    if reason:
        return reason
    inner = max((p for p in (*places.software, places.project) if path.startswith(p)), key=len, default="")
    home = os.path.expanduser("~").rstrip("/") + "/"
    if not inner and home != "/" and path.startswith(home) and path[len(home) :].startswith("."):
        return "a hidden file of the home folder; if the notebook needs it, put it into the project"
    # What an index or a distribution has published is public, and full of keys that look like secrets.
    if (inner and inner != places.project) or path.startswith(SYSTEM):
        return ""
    try:
        findings = secrets.in_file(Path(path), places.named(path), values)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return str(findings[0]) if findings else ""


def distributions(touched: Touched, environment: Environment) -> tuple[str, ...]:
    """Return the distributions whose files the cells have used.

    Metadata and start-up files do not count: looking for plug-ins reads those of every distribution.
    """
    looked = re.compile(r"\.(?:dist|egg)-info/|\.pth$")
    paths = [p for p in touched.in_cells if not looked.search(p) and not p.startswith(f"{CHILD}/")]
    return tuple(sorted({d for d in map(environment.owner, paths) if d}))


def libraries(touched: Touched) -> tuple[SystemLibrary, ...]:
    """Return the shared libraries and programs of the system that were used, with their Debian packages."""
    paths = [
        p
        for p in touched.used
        if p.startswith(SYSTEM[:6]) and (p in touched.run or ".so" in os.path.basename(p))
    ]
    real = {os.path.realpath(p) for p in paths}
    files = sorted(p for p in real if os.path.isfile(p) and not p.startswith("/usr/local/"))
    owners = debian_owners(files)
    return tuple(SystemLibrary(p, *owners.get(p, ("", ""))) for p in files)


def debian_owners(paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return (package, version) by path, as dpkg knows them; {} where there is no dpkg."""
    asked = {form: p for p in paths for form in (p, p.removeprefix("/usr"))}
    if not asked:
        return {}
    owners: dict[str, str] = {}
    for line in _dpkg(["-S", *asked]).splitlines():
        package, _, path = line.partition(": ")
        if path in asked and "," not in package and not package.startswith("diversion"):
            owners[asked[path]] = package
    names = sorted(set(owners.values()))
    shown = _dpkg(["-W", "-f", "${binary:Package}\t${Package}\t${Version}\n", *names]) if names else ""
    versions: dict[str, str] = {}
    for line in shown.splitlines():
        full, short, version = line.split("\t")
        versions[full] = versions[short] = version
    return {path: (name.partition(":")[0], versions.get(name, "")) for path, name in owners.items()}


def _dpkg(words: list[str]) -> str:
    try:
        return subprocess.run(
            ["dpkg-query", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
