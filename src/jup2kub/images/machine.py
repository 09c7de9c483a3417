"""Files of this machine as entries of a layer, at their own paths: links one by one, libraries with what they need."""

from __future__ import annotations

import json
import mmap
import os
import posixpath
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import elf
from jup2kub.images.tree import Entry, file, link
from jup2kub.model.env import Lock

LIBRARIES = "opt/j2k/lib"
"""Libraries of this machine that the base does not have; the loader is told by LD_LIBRARY_PATH."""
GLIBC = re.compile(
    r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl|mvec|nsl|nss_\w+|thread_db|BrokenLocale|c_malloc_debug))\.so\.\d+"
)
"""Parts of the C library: one version of all, and the base's own."""
DRIVERS = re.compile(r"lib(cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[\w-]+)\.so")
"""Belong to the node's kernel module, and are put in by its container runtime."""
SEARCHED = re.compile(r"/(usr/)?(local/)?lib(64)?(/[\w]+-linux-gnu\w*)?")
"""Folders that loaders search by themselves."""
DEFAULT = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib")
PROBE = """
import importlib.metadata as m, json, os, re, sys, sysconfig
def paths(d):
    found = [os.path.abspath(str(d.locate_file(f))) for f in d.files or ()]
    return [p for p in found if not p.endswith('.pyc') and os.path.isfile(p)]
named = {}
for d in m.distributions():
    named.setdefault(re.sub('[-_.]+', '-', d.metadata['Name'] or '').lower(), paths(d))
print(json.dumps({'distributions': named, 'stdlib': sysconfig.get_path('stdlib'), 'site': sysconfig.get_path('purelib'),
    'base': sys.base_prefix, 'prefix': sys.prefix, 'library': [sysconfig.get_config_var('LIBDIR'), sysconfig.get_config_var('INSTSONAME')]}))
"""


@dataclass(frozen=True)
class Interpreter:
    """The kernel's Python as it is installed here."""

    executable: str
    distributions: Mapping[str, tuple[str, ...]]
    """Files of each installed distribution, by its normalised name."""
    stdlib: str
    site: str
    prefix: str
    base: str
    """Prefix of the installation below a virtual environment."""


def interpreter(executable: str) -> Interpreter:
    """Ask the interpreter where its things are. Raises EnvironmentProblem (J2K610)."""
    try:
        done = subprocess.run([executable, "-c", PROBE], capture_output=True, check=True, timeout=120)
        told: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentProblem(
            "J2K610", f"{executable} does not tell what is installed: {error}", "check that it runs"
        ) from error
    named = {name: tuple(sorted(paths)) for name, paths in told["distributions"].items()}
    return Interpreter(executable, named, told["stdlib"], told["site"], told["prefix"], told["base"])


def steps_to(path: str) -> Iterator[tuple[str, str]]:
    """Yield each link on the way to `path` with its target, then the file itself with no target.

    Raises OSError for what is not there, and for a loop of links.
    """
    for _ in range(40):
        current = "/"
        words = path.strip("/").split("/")
        for place, word in enumerate(words):
            current = posixpath.join(current, word)
            if os.path.islink(current):
                target = os.readlink(current)
                yield current, target
                rest = words[place + 1 :]
                path = posixpath.normpath(posixpath.join(posixpath.dirname(current), target, *rest))
                break
        else:
            os.stat(path)
            yield path, ""
            return
    raise OSError(f"{path}: too many links")


def entries(paths: Iterable[str]) -> list[Entry]:
    """Return files at their own paths, and every link that leads to them."""
    found: dict[str, Entry] = {}
    for path in paths:
        for at, target in steps_to(path):
            if at not in found:
                found[at] = link(at, target) if target else _file(at)
    return list(found.values())


def _file(path: str) -> Entry:
    return file(path, Path(path), executable=bool(os.stat(path).st_mode & 0o111))


def standard_library(python: Interpreter) -> list[str]:
    """Return the whole standard library, without its tests, and the virtual environment's own file."""
    found = []
    for place, folders, names in os.walk(python.stdlib):
        folders[:] = sorted(
            f for f in folders if f not in ("site-packages", "dist-packages", "__pycache__", "test", "tests")
        )
        found += [os.path.join(place, n) for n in sorted(names) if not n.endswith((".pyc", ".a"))]
    settings = os.path.join(python.prefix, "pyvenv.cfg")
    return [*found, python.executable, *([settings] if os.path.isfile(settings) else [])]


def conda_files(python: Interpreter, wanted: Iterable[str]) -> list[str]:
    """Return the files of conda's packages that hold the wanted distributions, and of all that these depend on."""
    records = []
    for path in sorted(Path(python.base, "conda-meta").glob("*.json")):
        records.append(json.loads(path.read_text(encoding="utf-8")))
    by_name = {r["name"]: r for r in records}
    names = {n: python.distributions.get(n, ()) for n in wanted}
    needed = {os.path.relpath(p, python.base) for paths in names.values() for p in paths}
    todo = [r["name"] for r in records if r["name"] == "python" or needed & set(r.get("files", ()))]
    found: dict[str, Any] = {}
    while todo:
        name = todo.pop()
        if name in by_name and name not in found:
            found[name] = by_name[name]
            todo += [text.split()[0] for text in by_name[name].get("depends", ())]
    paths = [os.path.join(python.base, f) for r in found.values() for f in r.get("files", ())]
    return sorted(
        p
        for p in paths
        if not p.endswith(".pyc") and (os.path.islink(p) or os.path.isfile(p)) and os.path.exists(p)
    )


@dataclass
class Closure:
    """The libraries that files need, as this machine's loader finds them."""

    base_names: frozenset[str]
    """File names of libraries in the base's folders that its loader searches, and of the loader."""

    def __post_init__(self) -> None:
        self._cache = loader_cache()

    def of(self, paths: Iterable[str]) -> tuple[list[str], dict[str, str]]:
        """Return what `paths` need that is neither among them nor in the base.

        First: files that are found by their own path (RPATH, or the loader a program names). Second: by soname those
        that the loader searches for.
        """
        taken = {os.path.realpath(p) for p in paths}
        own: list[str] = []
        searched: dict[str, str] = {}
        todo = sorted(taken)
        while todo:
            path = todo.pop()
            parsed = _elf(path)
            if parsed is None:
                continue
            if parsed.interpreter and os.path.basename(parsed.interpreter) not in self.base_names:
                own.append(parsed.interpreter)
                todo += _new(os.path.realpath(parsed.interpreter), taken)
            for name in parsed.needed:
                at, by_path = self._find(name, path, parsed)
                if at is None or DRIVERS.match(name) or (not by_path and self._is_there(name)):
                    continue
                new = _new(os.path.realpath(at), taken)
                todo += new
                if by_path:
                    own += [at] if new else []
                elif not GLIBC.fullmatch(name):
                    searched[name] = at
        return own, searched

    def _is_there(self, name: str) -> bool:
        return name in self.base_names or GLIBC.fullmatch(name) is not None

    def _find(self, name: str, path: str, parsed: elf.Elf) -> tuple[str | None, bool]:
        """Return where the loader finds a library, and whether by a path that the file itself names (ld.so(8))."""
        if "/" in name:
            return (name if os.path.exists(name) else None), True
        origin = os.path.dirname(path)
        for folder in parsed.paths:
            place = folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
            at = os.path.normpath(os.path.join(place, name))
            if os.path.exists(at):
                return at, not SEARCHED.fullmatch(os.path.dirname(at))
        if name in self._cache:
            return self._cache[name], False
        at = next((os.path.join(d, name) for d in DEFAULT if os.path.exists(os.path.join(d, name))), "")
        return at or None, False


def _new(path: str, taken: set[str]) -> list[str]:
    if path in taken:
        return []
    taken.add(path)
    return [path]


def _elf(path: str) -> elf.Elf | None:
    try:
        with open(path, "rb") as opened:
            if opened.read(4) != elf.MAGIC[:4]:
                return None
            # A library may be gigabytes; of it the loader's tables are read, and nothing else.
            with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                return elf.parse(mapped)
    except (OSError, ValueError):
        return None


def loader_cache() -> dict[str, str]:
    """Return what this machine's loader knows: path by soname; {} where there is no ldconfig."""
    for program in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            done = subprocess.run([program, "-p"], capture_output=True, text=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            continue
        lines = re.findall(r"^\t(\S+) \(([^)]*)\) => (\S+)$", done.stdout, flags=re.M)
        found: dict[str, str] = {}
        for name, kind, path in lines:
            if "64" in kind or kind == "libc6":
                found.setdefault(name, path)
        return found
    return {}


def seen_libraries(lock: Lock) -> list[str]:
    """Return the libraries and programs that a traced run has opened by name, as far as they are here still."""
    return [
        x.path
        for x in lock.libraries
        if os.path.isfile(x.path) and not DRIVERS.match(os.path.basename(x.path))
    ]
