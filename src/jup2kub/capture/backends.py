"""Ways to watch a process: ReproZip's tracer, strace, or Python's audit hook alone; the first that works here is taken."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

PTRACE = Path(__file__).with_name("ptrace.py")
SECONDS = 30
READ, WRITE, CHDIR, STAT, LINK, SOCKET = 1, 2, 4, 8, 16, 32
"""Bits of `opened_files.mode` in ReproZip's database."""
COMMON = (
    "files are noted when they are opened: what is written into one that an earlier cell has opened is not seen",
    "what a thread does counts for the cell that runs at that time",
)
UNSEEN = {
    "reprozip": (*COMMON, "connections of child processes and of C libraries to other hosts"),
    "strace": COMMON,
    "hook": (
        *COMMON,
        "files that C libraries open by themselves: Parquet, HDF5, SQLite, shared libraries; looks at files (stat)",
        "all that child processes do, unless they were forked by Python",
        "connections of child processes and of C libraries to other hosts",
    ),
}
"""What each way cannot see, in words."""


@dataclass(frozen=True)
class Event:
    """One thing that a process did to a file or a host, in the order of time."""

    kind: str
    """`read`, `write`, `stat`, `run`, `remove`, `link` or `connect`."""
    path: str
    """Absolute and normalised; `host:port` of a connection."""


@dataclass(frozen=True)
class Backend:
    """One way to watch."""

    name: str
    """`reprozip`, `strace` or `hook`."""
    why: str
    """Why no better one was taken; empty = it is the best."""

    def command(self, folder: Path) -> tuple[str, ...]:
        """Return what stands before the watched command; its notes go to `folder`."""
        if self.name == "reprozip":
            return (sys.executable, "-I", str(PTRACE), "trace", str(folder / "trace.sqlite3"))
        if self.name == "strace":
            calls = "trace=%file,connect,execve"
            return (
                str(shutil.which("strace")),
                "-f",
                "-qq",
                "-y",
                "-s",
                "4096",
                "-e",
                calls,
                "-o",
                str(folder / "strace"),
            )
        return ()

    def events(self, folder: Path) -> Iterator[Event]:
        """Yield what was noted, in order. Raises OSError or sqlite3.Error if the notes are not whole."""
        if self.name == "reprozip":
            yield from reprozip_events(folder / "trace.sqlite3")
        elif self.name == "strace":
            with (folder / "strace").open(encoding="utf-8", errors="surrogateescape") as file:
                yield from strace_events(file)
        else:
            yield from hook_events(folder / "hook.log")


def choose() -> Backend:
    """Return the best way to watch that works on this machine; each is tried on a small program."""
    why = _try_reprozip()
    if not why:
        return Backend("reprozip", "")
    why_not_strace = _try_strace()
    if not why_not_strace:
        return Backend("strace", f"ReproZip's tracer: {why}")
    return Backend("hook", f"ReproZip's tracer: {why}; strace: {why_not_strace}")


def _try_reprozip() -> str:
    with tempfile.TemporaryDirectory(prefix="j2k-try-") as folder:
        true = shutil.which("true") or "/bin/true"
        why = _attempt([*Backend("reprozip", "").command(Path(folder)), true])
        return why or ("" if Path(folder, "trace.sqlite3").exists() else "it writes no trace")


def _try_strace() -> str:
    if shutil.which("strace") is None:
        return "not installed"
    with tempfile.TemporaryDirectory(prefix="j2k-try-") as folder:
        true = shutil.which("true") or "/bin/true"
        return _attempt([*Backend("strace", "").command(Path(folder)), true])


def _attempt(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def reprozip_events(database: Path) -> Iterator[Event]:
    """Yield the events of ReproZip's trace; its names are not normalised, and failed calls are not in it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        rows = connection.execute(
            "SELECT name, mode, timestamp, 0 FROM opened_files UNION ALL "
            "SELECT name, -1, timestamp, 1 FROM executed_files ORDER BY 3, 4"
        )
        for name, mode, _, _ in rows:
            path = os.path.normpath(name)
            if mode < 0:
                yield Event("run", path)
            elif mode & SOCKET:
                continue
            elif mode & WRITE:
                yield Event("write", path)
                if mode & READ:
                    yield Event("read", path)
            elif mode & READ and not mode & LINK:
                yield Event("read", path)
            elif mode & STAT:
                yield Event("stat", path)


CALL = re.compile(r"^(?:\d+\s+)?(\w+)\((.*)\)\s+= (-?\d+|\?)(?:<[^>]*>)?")
UNFINISHED = re.compile(r"^(\d+)\s+(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. \w+ resumed>(.*)$")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
FOLDER = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>,\s*$")
OPENS = frozenset(("open", "openat", "openat2", "creat"))
LOOKS = frozenset(("stat", "lstat", "newfstatat", "fstatat64", "statx", "access", "faccessat", "faccessat2"))
REMOVES = frozenset(("unlink", "unlinkat", "rmdir"))
RENAMES = frozenset(("rename", "renameat", "renameat2"))
MAKES = frozenset(
    ("mkdir", "mkdirat", "mknod", "mknodat", "truncate", "symlink", "symlinkat", "link", "linkat")
)


def strace_events(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of `strace -f -y`; calls that were interrupted by others are put together first."""
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        cut = UNFINISHED.match(text)
        if cut:
            begun[cut[1]] = cut[2]
            continue
        rest = RESUMED.match(text)
        if rest:
            text = begun.pop(rest[1], "") + rest[2]
        call = CALL.match(text)
        if call and not call[3].startswith("-"):
            yield from _of_call(call[1], call[2])


def _of_call(name: str, arguments: str) -> Iterator[Event]:
    if name == "connect":
        port = re.search(r"sin6?_port=htons\((\d+)\)", arguments)
        host = re.search(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"', arguments)
        if port and host:
            yield Event("connect", f"{host[1]}:{port[1]}")
        return
    paths = [_absolute(arguments, match) for match in QUOTED.finditer(arguments)]
    if not paths or not paths[0]:
        return
    if name in OPENS:
        flags = arguments[arguments.rindex('"') :]
        writes = name == "creat" or re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", flags)
        if writes:
            yield Event("write", paths[0])
        if not writes or "O_RDWR" in flags:
            yield Event("read", paths[0])
    elif name == "execve":
        yield Event("run", paths[0])
    elif name in LOOKS:
        yield Event("stat", paths[0])
    elif name in REMOVES:
        yield Event("remove", paths[0])
    elif name in RENAMES and len(paths) > 1:
        yield Event("remove", paths[0])
        yield Event("write", paths[1])
    elif name in MAKES:
        yield Event("write", paths[-1])


def _absolute(arguments: str, match: re.Match[str]) -> str:
    """Return the path of a quoted argument; empty = relative to a folder that is not told."""
    raw = match[1].encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1", "replace")
    path = raw.decode("utf-8", "surrogateescape")
    if path.startswith("/"):
        return os.path.normpath(path)
    base = FOLDER.search(arguments[: match.start()])
    return os.path.normpath(os.path.join(base[1], path)) if base else ""


def hook_events(log: Path) -> Iterator[Event]:
    """Yield the events that the kernel's own audit hook has noted."""
    try:
        lines = log.read_text(encoding="utf-8", errors="surrogatepass").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            kind, *what = json.loads(line)
        except ValueError:
            continue  # two processes wrote at once
        if kind == "open":
            yield Event("write" if what[1] else "read", what[0])
        elif kind == "connect":
            yield Event("connect", f"{what[0]}:{what[1]}" if what[1] else what[0])
        elif kind == "rename":
            yield Event("remove", what[0])
            yield Event("write", what[1])
        elif kind in ("remove", "run"):
            yield Event(kind, what[0])
