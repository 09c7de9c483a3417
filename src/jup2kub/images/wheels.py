"""A wheel as entries of a layer, installed as the wheel specification tells (PEP 427, PEP 491).

Nothing is executed, and nothing of the wheel decides where it lies outside the environment's own folder.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import pyc
from jup2kub.images.tree import Entry, clean, file

SCRIPT = """#!{python}
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({call}())
"""
REFERENCE = re.compile(r"^\s*([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?\s*$")
NEVER = re.compile(r"(^|/)(\.\.|)(/|$)")
"""Names that lead out of the folder, or are absolute."""


LARGE = 256 << 10
"""Bytes from which a file stays in its wheel until the layer is written."""


@dataclass(frozen=True)
class Home:
    """Where distributions are installed in an image: a virtual environment's layout."""

    prefix: str
    """Without a leading slash."""
    python: str
    """Version in two numbers, as `3.11`."""

    @property
    def site(self) -> str:
        """The folder of libraries, pure or not."""
        return f"{self.prefix}/lib/python{self.python}/site-packages"

    @property
    def interpreter(self) -> str:
        """The program that runs in it, from the root."""
        return f"/{self.prefix}/bin/python"

    @property
    def tag(self) -> str:
        """Of bytecode: `cpython-311`."""
        return f"cpython-{self.python.replace('.', '')}"


def damaged(path: Path, why: str) -> EnvironmentProblem:
    """Return the error of a wheel that cannot be used."""
    return EnvironmentProblem(
        "J2K611", f"{path.name}: {why}", "remove it from the cache of wheels, and lock the notebook anew"
    )


def check(path: Path, sha256: str) -> None:
    """Compare a wheel with the digest it was locked by. Raises EnvironmentProblem (J2K611)."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    if digest.hexdigest() != sha256:
        raise damaged(path, f"is not what was locked: sha256 {digest.hexdigest()}, not {sha256}")


class _Hashing:
    """A file being read that knows the digest of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def told(self) -> str:
        return as_recorded(self._hash.digest())


@dataclass(frozen=True)
class Member:
    """A large file of a wheel; `open` compares it with what RECORD says. It raises EnvironmentProblem (J2K611)."""

    wheel: Path
    name: str
    size: int
    told: str
    """Digest, as RECORD writes it."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it for reading, once from its begin to its end."""
        with zipfile.ZipFile(self.wheel) as archive, archive.open(self.name) as opened:
            hashing = _Hashing(opened)
            yield cast(IO[bytes], hashing)
        if hashing.told != self.told:
            raise damaged(self.wheel, f"{self.name} is not what its RECORD says")


def as_recorded(digest: bytes) -> str:
    """Return a sha256 digest as RECORD writes it (PEP 376, PEP 427)."""
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def entries(path: Path, home: Home) -> list[Entry]:
    """Return what installing the wheel at `path` puts into an image, without bytecode.

    Raises EnvironmentProblem (J2K611) if it is not a wheel.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Install(path, archive, home).entries()
    except (zipfile.BadZipFile, OSError, KeyError, UnicodeDecodeError, configparser.Error) as error:
        raise damaged(path, f"cannot be read as a wheel: {error}") from error


class _Install:
    def __init__(self, path: Path, archive: zipfile.ZipFile, home: Home) -> None:
        self._path = path
        self._archive = archive
        self._home = home
        roots = {n.split("/")[0] for n in archive.namelist()}
        infos = [r for r in roots if r.endswith(".dist-info")]
        if len(infos) != 1:
            raise damaged(path, f"has {len(infos)} folders `.dist-info`, where a wheel has one")
        self._info = infos[0]
        self._data = self._info.removesuffix(".dist-info") + ".data"
        self._name = self._info.split("-")[0]
        rows = csv.reader(archive.read(f"{self._info}/RECORD").decode().splitlines())
        self._told = {row[0]: row[1] for row in rows if len(row) > 1 and row[1].startswith("sha256=")}

    def entries(self) -> list[Entry]:
        """Return files of the wheel, its scripts, and the record of all of them."""
        record = f"{self._info}/RECORD"
        found = [self._member(m) for m in self._archive.infolist() if not m.is_dir() and m.filename != record]
        found += self._scripts()
        found.append(file(f"{self._home.site}/{self._info}/INSTALLER", b"jup2kub\n"))
        found.append(self._record(found))
        return found

    def _member(self, member: zipfile.ZipInfo) -> Entry:
        name = member.filename
        if NEVER.search(name) or "\\" in name:
            raise damaged(self._path, f"names a file outside of its folder: {name!r}")
        executable = bool(member.external_attr >> 16 & 0o111)
        head, _, rest = name.partition("/")
        if member.file_size >= LARGE and name in self._told and not name.endswith(".py"):
            data: bytes | Member = Member(self._path, name, member.file_size, self._told[name])
        else:
            data = self._read(member)
        if head != self._data:
            return file(f"{self._home.site}/{name}", data, executable=executable)
        scheme, _, rest = rest.partition("/")
        prefix = self._home.prefix
        places = {
            "purelib": self._home.site,
            "platlib": self._home.site,
            "data": prefix,
            "headers": f"{prefix}/include/site/python{self._home.python}/{self._name}",
            "scripts": f"{prefix}/bin",
        }
        if scheme not in places:
            raise damaged(self._path, f"has an unknown part {scheme!r} in {head}")
        if scheme == "scripts":
            data = data if isinstance(data, bytes) else self._read(member)
            data = re.sub(rb"^#!pythonw?", b"#!" + self._home.interpreter.encode(), data, count=1)
            executable = True
        return file(f"{places[scheme]}/{rest}", data, executable=executable)

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        data = self._archive.read(member)
        told = self._told.get(member.filename)
        if told and told != as_recorded(hashlib.sha256(data).digest()):
            raise damaged(self._path, f"{member.filename} is not what its RECORD says")
        return data

    def _scripts(self) -> Iterator[Entry]:
        try:
            text = self._archive.read(f"{self._info}/entry_points.txt").decode()
        except KeyError:
            return
        parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(text)
        for section in ("console_scripts", "gui_scripts"):
            for name, value in parser.items(section) if parser.has_section(section) else ():
                parts = REFERENCE.match(value)
                if parts and "/" not in name:
                    text = SCRIPT.format(
                        python=self._home.interpreter,
                        module=parts[1],
                        first=parts[2].split(".")[0],
                        call=parts[2],
                    )
                    yield file(f"{self._home.prefix}/bin/{name}", text.encode(), executable=True)

    def _record(self, found: list[Entry]) -> Entry:
        """Return the RECORD of what is installed: `importlib.metadata` finds files by it."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for entry in sorted(found, key=lambda e: e.path):
            where = posixpath.relpath(entry.path, self._home.site)
            if isinstance(entry.content, Member):
                writer.writerow([where, entry.content.told, entry.content.size])
            elif isinstance(entry.content, bytes):
                told = as_recorded(hashlib.sha256(entry.content).digest())
                writer.writerow([where, told, len(entry.content)])
        writer.writerow([f"{self._info}/RECORD", "", ""])
        return file(f"{self._home.site}/{self._info}/RECORD", out.getvalue().encode())


def bytecode(found: list[Entry], home: Home, python: str) -> list[Entry]:
    """Return the bytecode of the sources among `found` that lie in the environment's libraries."""
    sources = []
    for entry in sorted(found, key=lambda e: e.path):
        inside = entry.path.startswith(clean(home.prefix) + "/lib/") and entry.path.endswith(".py")
        if inside and pyc.is_worth(entry.path):
            if isinstance(entry.content, Path):
                sources.append(pyc.Source(entry.path, entry.content.read_bytes()))
            elif isinstance(entry.content, bytes):
                sources.append(pyc.Source(entry.path, entry.content))
    done = pyc.compile_all(sources, python)
    return [file(pyc.cached_path(path, home.tag), data) for path, data in done.items()]
