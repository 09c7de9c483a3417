"""What an image stands on: layers of a root file system, and one layer that completes them.

A base is a registry image by its digest, a tar, or packages of Debian. Packages that are only unpacked, and bases made
for other purposes, lack what their scripts would have made: users, the bundle of certificates, the loader's cache,
bytecode. The completing layer has it.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jup2kub.images import elf, layer, ldcache, pyc, rootfs
from jup2kub.images.blobs import Blobs
from jup2kub.images.layer import Layer
from jup2kub.images.rootfs import Look
from jup2kub.images.tree import Entry, Ground, file, folder, link, settle
from jup2kub.kit.canon import digest, to_json

VERSION = 4
"""Of this module's work: a higher one makes layers anew."""
USER = "j2k"
UID = 1000
HOME = "home/j2k"
PASSWD = f"{USER}:x:{UID}:{UID}::/{HOME}:/bin/sh\n"
GROUP = f"{USER}:x:{UID}:\n"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
MOZILLA = "usr/share/ca-certificates/mozilla/"
LOADER_CACHE = "etc/ld.so.cache"
ALTERNATIVES = {"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils", "usr/bin/pager": "more"}
"""Names that packages' scripts make, and what they stand for."""
ETC = {
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
}
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHONS = ("usr/bin", "usr/local/bin", "opt/conda/bin")
GLIBC = re.compile(rb"GNU C Library [^\n]*version (\d+)\.(\d+)")
LIBRARY = re.compile(r"\.so(\.[\w.]+)?$")


@dataclass(frozen=True)
class Completion:
    """What was found out of a root file system when it was completed."""

    layer: Layer | None = None
    """The completing layer; None = nothing was missing."""
    python: str = ""
    """Path of its interpreter of the wanted version, from the root; empty = it has none."""
    glibc: tuple[int, int] = (0, 0)
    libraries: tuple[str, ...] = ()
    """Names of the libraries in the folders that its loader searches, and of the loader itself; sorted."""
    architecture: str = ""
    """For which its libraries are made; empty = it has none whose machine is known."""


@dataclass(frozen=True)
class Base:
    """A root file system, complete."""

    layers: tuple[Layer, ...]
    """The lowest first; the last completes the others."""
    origin: str
    """In words: `debian bookworm`, `image python:3.12-slim@sha256:…`."""
    python: str = ""
    """Path of its interpreter of the wanted version, from the root; empty = it has none."""
    packages: tuple[tuple[str, str, str], ...] = ()
    """Debian packages: name, version, architecture; empty = not known."""
    env: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"
    completion: Completion = field(default_factory=Completion)
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def glibc(self) -> tuple[int, int]:
        """Version of its C library; (0, 0) = it has none that is known."""
        return self.completion.glibc

    @property
    def libraries(self) -> frozenset[str]:
        """Names of the libraries that its loader finds."""
        return frozenset(self.completion.libraries)

    @property
    def ground(self) -> Ground:
        """Folders and links of all layers."""
        return sum((x.ground for x in self.layers), Ground())

    @property
    def digest(self) -> str:
        """Identity of what it was made of."""
        return digest([x.diff_id for x in self.layers])


def complete(blobs: Blobs, below: Sequence[Layer], minor: str, python: str, kind: str) -> Completion:
    """Return what completes `below`, and what is in them.

    `minor`: version of the wanted interpreter. `python`: one of this machine of that version, which compiles.
    """
    key = digest(["complete", VERSION, [x.diff_id for x in below], minor, kind, python])
    known = blobs.record(key)
    if known is not None:
        made = layer.from_record(known["layer"]) if known["layer"] else None
        if made is None or blobs.has(made.blob):
            version = (int(known["glibc"][0]), int(known["glibc"][1]))
            libraries = tuple(known["libraries"])
            return Completion(made, known["python"], version, libraries, known["architecture"])
    seen = rootfs.look([blobs.path(x.blob.digest) for x in below], _wanted(minor))
    found = next((p for p in (f"{d}/python{minor}" for d in PYTHONS) if seen.has(p)), "")
    entries = [*_users(seen), *_places(seen), *_names(seen), *_certificates(seen), *_loader(seen)]
    if found:
        entries += _bytecode(seen, found, minor, python)
    # These folders are meant to get another mode than they have below.
    meant = Ground(
        {**seen.ground.folders, **{e.path: e.mode for e in entries if e.is_folder}}, seen.ground.links
    )
    made = layer.write(blobs, settle(entries, meant), kind, "what the base lacks") if entries else None
    machine = _architecture(seen)
    done = Completion(made, found and f"/{found}", _glibc(seen), _libraries(seen), machine)
    blobs.remember(key, {**to_json(done), "layer": made.to_record() if made else None})
    return done


def _glibc(seen: Look) -> tuple[int, int]:
    """Return the version that the C library itself tells."""
    for path, data in seen.contents.items():
        told = GLIBC.search(data) if posixpath.basename(path) == "libc.so.6" or "/libc-2." in path else None
        if told:
            return int(told[1]), int(told[2])
    return (0, 0)


def _architecture(seen: Look) -> str:
    """Return for which machines most of the libraries are made: a base may hold some of another for emulation."""
    told = Counter(filter(None, map(elf.architecture, seen.contents.values())))
    return told.most_common(1)[0][0] if told else ""


def _libraries(seen: Look) -> tuple[str, ...]:
    paths = (
        p
        for p in (*seen.files, *seen.ground.links)
        if LIBRARY.search(p) and _is_searched(posixpath.dirname(p))
    )
    return tuple(sorted({posixpath.basename(p) for p in paths}))


def _wanted(minor: str) -> Callable[[str], bool]:
    """Return what tells which files' contents are needed."""
    stdlib = re.compile(rf"(^|/)lib/python{re.escape(minor)}/.*\.py$")

    def wanted(path: str) -> bool:
        return (
            path in ("etc/passwd", "etc/group")
            or path.startswith((MOZILLA, "usr/share/base-passwd/"))
            or (LIBRARY.search(path) is not None and _is_searched(posixpath.dirname(path)))
            or (stdlib.search(path) is not None and "/site-packages/" not in path)
        )

    return wanted


def _is_searched(at: str) -> bool:
    """Whether the loader looks into this folder by itself, or by the lists that Debian ships."""
    return at in ("usr/lib", "lib", "usr/lib64", "lib64", "usr/local/lib") or (
        re.fullmatch(r"(usr/|usr/local/)?lib/[\w]+-linux-gnu\w*", at) is not None
    )


def _users(seen: Look) -> Iterator[Entry]:
    """Give the user that pods run as a name: `getpass.getuser` and `Path.home` want one."""
    for name, line, root in (
        ("passwd", PASSWD, "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", GROUP, "root:x:0:\n"),
    ):
        master = seen.contents.get(f"usr/share/base-passwd/{name}.master", root.encode())
        text = seen.contents.get(f"etc/{name}", master).decode()
        if not re.search(rf"^[^:]*:[^:]*:{UID}:", text, flags=re.M):
            yield file(f"etc/{name}", (text.rstrip("\n") + "\n" + line).encode())


def _places(seen: Look) -> Iterator[Entry]:
    for path in (HOME, "tmp", "var/tmp", "dev/shm"):
        if seen.ground.folders.get(seen.ground.place(path)) != 0o1777:
            # Open to all: whoever runs the image, and a writable volume may lie over it.
            yield folder(path, 0o1777)


def _names(seen: Look) -> Iterator[Entry]:
    for path, text in ETC.items():
        if not seen.has(path):
            yield file(path, text.encode())
    if "etc/localtime" not in seen.ground.links and not seen.has("etc/localtime"):
        yield link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
    for path, name in ALTERNATIVES.items():
        if not seen.has(path) and seen.has(posixpath.join(posixpath.dirname(path), name)):
            yield link(path, name)


def _certificates(seen: Look) -> Iterator[Entry]:
    parts = [seen.contents[p] for p in sorted(seen.contents) if p.startswith(MOZILLA)]
    if parts and not seen.has(BUNDLE):
        yield file(BUNDLE, b"".join(part.rstrip(b"\n") + b"\n" for part in parts))


def _loader(seen: Look) -> Iterator[Entry]:
    if seen.has(LOADER_CACHE):
        return
    names = sorted(p for p in (*seen.files, *seen.ground.links) if LIBRARY.search(p))
    found = []
    for path in names:
        real = seen.real(path)
        parsed = elf.parse(seen.contents[real]) if real in seen.contents else None
        # ldconfig enters what the folder has under the library's own name, or a link of that name.
        if (
            parsed is not None
            and parsed.soname == posixpath.basename(path)
            and _is_searched(posixpath.dirname(path))
        ):
            found.append(ldcache.Library(parsed.soname, f"/{path}", parsed.machine))
    if found:
        yield file(LOADER_CACHE, ldcache.build(found))


def _bytecode(seen: Look, interpreter: str, minor: str, python: str) -> Iterator[Entry]:
    """Yield bytecode of the standard library where the base has none."""
    lib = f"{posixpath.dirname(posixpath.dirname(interpreter))}/lib/python{minor}/"
    tag = f"cpython-{minor.replace('.', '')}"
    if seen.has(pyc.cached_path(f"{lib}os.py", tag)):
        return
    sources = [
        pyc.Source(path, seen.contents[path])
        for path in sorted(seen.contents)
        if path.startswith(lib) and path.endswith(".py") and pyc.is_worth(path)
    ]
    for path, data in pyc.compile_all(sources, python).items():
        yield file(pyc.cached_path(path, tag), data)


def from_tar(blobs: Blobs, path: Path, kind: str, tell: Callable[[int], None] = layer.silent) -> Layer:
    """Return the tar of a root file system as a layer, byte for byte. Raises EnvironmentProblem (J2K612).

    `tell` gets the bytes of the file that are read so far.
    """
    seen = rootfs.look([path], lambda name: False)
    with path.open("rb") as opened, rootfs.opened(opened, path) as stream:
        made = layer.copy(
            blobs, stream, kind, f"root file system {path.name}", lambda done: tell(opened.tell())
        )
    return layer.with_ground(made, seen.ground)
