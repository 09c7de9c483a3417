"""A base of Debian packages: unpacked by mmdebstrap, without root and without running anything of theirs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import layer
from jup2kub.images.blobs import Blobs
from jup2kub.images.layer import Layer
from jup2kub.images.tree import Entry, Ground, clean, file, folder, link, settle

VERSION = 1
"""Of this module's work: a higher one makes the layer anew."""
SUITES = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie"}
"""The release of Debian whose own Python is of that version."""
GLIBC = (((2, 31), "bullseye"), ((2, 36), "bookworm"), ((2, 41), "trixie"))
"""The C library of each release: what is built on this machine runs on the same one or a later one."""
PACKAGES = (
    *("base-files", "base-passwd", "libc-bin", "dash", "bash", "coreutils", "findutils", "grep", "sed"),
    *("gzip", "tar", "procps", "ca-certificates", "tzdata", "netbase", "media-types"),
    *("libgomp1", "libstdc++6", "zlib1g", "libexpat1", "libbz2-1.0", "liblzma5"),
)
"""What programs expect of a Linux: a shell and its tools, certificates, time zones, names of services and types."""
LEFT_OUT = (
    *("usr/share/man/", "usr/share/info/", "usr/share/lintian/", "usr/share/bug/", "usr/share/locale/"),
    *("dev/", "proc/", "sys/", "run/", "var/cache/", "var/lib/apt/", "var/log/", "usr/share/doc-base/"),
)
LIMIT = 1800
"""Seconds that mmdebstrap may take: it downloads some 40 MB."""


@dataclass(frozen=True)
class Debian:
    """A layer of Debian packages."""

    layer: Layer
    suite: str
    packages: tuple[tuple[str, str, str], ...]
    """Name, version and architecture of each, sorted."""


def suite_as_new(glibc: tuple[int, int] | None, python: str) -> str:
    """Return the oldest release whose C library is as new as this machine's. Raises EnvironmentProblem (J2K613).

    `glibc`: of this machine; None = it has another C library.
    """
    for version, suite in GLIBC:
        if glibc is not None and version >= glibc:
            return suite
    raise EnvironmentProblem(
        "J2K613",
        f"no release of Debian that is known here can run this machine's Python {python}",
        "name a base that is as new as this machine, with --base",
    )


def release_here() -> str:
    """Return the release of Debian that this machine runs; empty = another system (os-release(5))."""
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return ""
    return told.get("VERSION_CODENAME", "") if told.get("ID") == "debian" else ""


def build(
    blobs: Blobs, suite: str, packages: Sequence[str], kind: str, tell: Callable[[str], None]
) -> Debian:
    """Download and unpack packages and all they depend on. Raises EnvironmentProblem (J2K614)."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise EnvironmentProblem(
            "J2K614",
            "mmdebstrap, which makes the base of Debian packages, is not installed",
            "apt install mmdebstrap; or name another base: --base IMAGE, or --base FILE.tar",
        )
    with tempfile.TemporaryDirectory(prefix="jup2kub-") as scratch:
        target, listing = Path(scratch) / "root.tar", Path(scratch) / "packages"
        listing.touch()
        wanted = ",".join(packages)
        tell(f"downloading Debian {suite}")
        _run(
            [
                program,
                "--quiet",
                "--variant=extract",
                f"--include={wanted}",
                *_hook(listing),
                suite,
                str(target),
            ]
        )
        made = layer.write(blobs, settle(entries(target), Ground()), kind, f"debian {suite}")
        names = listing.read_text(encoding="utf-8").split()
    found = tuple(sorted({_parse(name) for name in names if name.endswith(".deb")}))
    return Debian(made, suite, found)


def _hook(listing: Path) -> list[str]:
    """Return the options by which mmdebstrap lists what it has downloaded; no status of dpkg is left behind."""
    return [f'--extract-hook=ls "$1/var/cache/apt/archives" > {listing}']


def _run(command: Sequence[str]) -> None:
    env = {**os.environ, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C.UTF-8"}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise EnvironmentProblem(
            "J2K614",
            f"mmdebstrap could not make the base: {' / '.join(said[-3:])}",
            "it needs Debian's mirror and keyring (debian-archive-keyring); --base FILE.tar needs neither",
        ) from error


def _parse(name: str) -> tuple[str, str, str]:
    """Return name, version and architecture from the name of a package's file."""
    package, version, architecture = name.removesuffix(".deb").split("_")
    return package, version.replace("%3a", ":"), architecture


MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
"""Folders that are links into `usr` (file-hierarchy(7)); packages before Debian 13 still name them."""


def merged(path: str) -> str:
    """Return where a package's file lies in a system whose `/bin` is `/usr/bin`."""
    return f"usr/{path}" if path.split("/")[0] in MERGED else path


def entries(path: Path) -> list[Entry]:
    """Return what the image keeps of an unpacked system; hard links become files of their own."""
    found: dict[str, Entry] = {}
    for entry in _kept(path):
        # Of a file and a link from one of the two places into the other, the file is meant.
        if entry.path not in found or not entry.target:
            found[entry.path] = entry
    used = {p.split("/")[1] for p in found if p.startswith("usr/")}
    return [*found.values(), *(link(name, f"usr/{name}") for name in MERGED if name in used)]


def _kept(path: Path) -> Iterator[Entry]:
    with tarfile.open(path) as archive:
        for member in archive:
            at = clean(member.name)
            if not at or f"{at}/".startswith(LEFT_OUT) or _documentation(at):
                continue
            at = merged(at)
            if member.isdir():
                yield folder(at, member.mode & 0o7777)
            elif member.issym():
                yield link(at, member.linkname)
            elif member.isreg() or member.islnk():
                data = cast(IO[bytes], archive.extractfile(member)).read()
                # No program of a step may gain rights: pods forbid it, and laptops should.
                yield file(at, data, executable=bool(member.mode & 0o111))
    for name in ("dev", "proc", "sys", "run", "var/log", "var/cache"):
        yield folder(name)


def _documentation(path: str) -> bool:
    return path.startswith("usr/share/doc/") and not path.endswith("/copyright") and path.count("/") > 3
