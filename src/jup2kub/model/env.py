"""The software environment of a notebook: what was seen of it, and the lock that it is built from again.

No noun here holds a secret or a value of an environment variable. Paths of this machine are kept only where the files
themselves are fetched from (`CarriedFile.source`, `LocalModule.source`); they never travel: see `travelling`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping, Optional, Tuple

LOCK_VERSION = 1

EDITABLE = "editable"
VCS = "vcs"
EDITED = "edited"
CONDA = "conda"
INSTALLED = "installed"
UNOWNED = "unowned"
CARRIED_KINDS = (EDITABLE, VCS, EDITED, CONDA, INSTALLED, UNOWNED)
"""Why a distribution travels as its own files instead of a wheel.

`editable`: its sources lie in a folder; `vcs`: installed from a repository or a local path; `edited`: files differ from
what its wheel brought; `conda`: conda made it; `installed`: no wheel on the index is what is installed (it was built from
a source archive, say); `unowned`: a module on the path that no distribution says it owns.
"""


@dataclass(frozen=True)
class Python:
    """The interpreter that runs the notebook's kernel."""

    version: str
    """Three numbers, `3.11.7`."""
    implementation: str
    """`cpython`, `pypy`, … as `sys.implementation.name`."""
    executable: str = ""
    """Absolute path on the machine that locked; empty in what travels."""
    prefix: str = ""
    """Its environment (`sys.prefix`); empty in what travels."""
    base_prefix: str = ""
    """The installation below it (`sys.base_prefix`); empty in what travels."""
    conda: bool = False
    """Whether conda made the environment: its wheels are not on an index, strategy `closure` is for it."""

    @property
    def minor(self) -> str:
        """The language's version, `3.11`."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Platform:
    """The kind of machine that the wheels are for."""

    system: str
    """`linux`, `darwin`: `sys.platform`."""
    machine: str
    """`x86_64`, `aarch64`: `platform.machine()`."""
    libc: str = ""
    """`glibc 2.36`, `musl 1.2`; empty = not known."""


@dataclass(frozen=True)
class Wheel:
    """A distribution that comes as a wheel, vendored and addressed by its digest."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    filename: str
    sha256: str
    """Of the wheel file, 64 hexadecimal digits."""
    bytes: int
    """Size of the wheel file."""
    requires: Tuple[str, ...] = ()
    """Normalised names of the distributions of this lock that it needs here, extras and markers decided."""
    imports: Tuple[str, ...] = ()
    """Top-level import names that it brings."""
    licence: str = ""
    """As its metadata say: an SPDX expression where there is one, else their words; empty = they say nothing."""
    url: str = ""
    """Where it was fetched from, without credentials; empty = not known."""
    why: Tuple[str, ...] = ()
    """Reasons: `cell 3 imports pandas`, `needed by pandas`, `kernel`, `requirements.txt`, `%pip in cell 1`, `seen`."""


@dataclass(frozen=True)
class CarriedFile:
    """One file of a carried distribution."""

    target: str
    """Path relative to site-packages (`pkg/mod.py`); `../../../bin/tool` is never carried."""
    source: str
    """Absolute path on the machine that locked; empty in what travels."""
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Carried:
    """A distribution that travels as the files it is, flagged, because no wheel on an index is it."""

    name: str
    version: str
    kind: str
    """One of `CARRIED_KINDS`."""
    reason: str
    """In words, with what was found: which files differ, which repository and commit."""
    files: Tuple[CarriedFile, ...] = ()
    """Sorted by target."""
    requires: Tuple[str, ...] = ()
    imports: Tuple[str, ...] = ()
    licence: str = ""
    why: Tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalModule:
    """A module file of the project folder that the notebook imports."""

    name: str
    """Dotted."""
    path: str
    """Relative to the notebook's folder."""
    sha256: str
    bytes: int
    source: str = ""
    """Absolute path on the machine that locked; empty in what travels."""


@dataclass(frozen=True)
class DataFile:
    """A file that the notebook reads or writes, not part of any distribution."""

    path: str
    """Relative to the notebook's folder; absolute if outside it."""
    read_by: Tuple[int, ...] = ()
    """Cells that read it, counted among all cells from 0."""
    written_by: Tuple[int, ...] = ()
    sha256: Optional[str] = None
    """Of its content before the traced run; None = it did not exist then, or the run has changed it."""
    bytes: Optional[int] = None
    """Before the traced run; None = it did not exist then."""


@dataclass(frozen=True)
class SystemLibrary:
    """A file outside every Python environment that was loaded: a shared library, a program."""

    path: str
    package: str = ""
    """Debian package that owns it; empty = none does, or there is no dpkg."""
    version: str = ""


@dataclass(frozen=True)
class Seen:
    """What one execution of the notebook has used of its environment."""

    backend: str
    """`reprozip`, `strace`, `hook` (Python's audit events alone), or `none` (not executed)."""
    imports: Tuple[str, ...] = ()
    """Top-level modules that were imported."""
    distributions: Tuple[str, ...] = ()
    """Those whose files were opened; normalised names, sorted."""
    data: Tuple[DataFile, ...] = ()
    libraries: Tuple[SystemLibrary, ...] = ()
    hosts: Tuple[str, ...] = ()
    """`host:port` that the notebook connected to, and names that it looked up."""
    withheld: Tuple[str, ...] = ()
    """Files that it used and that must not travel, each with its reason, in words."""
    unseen: Tuple[str, ...] = ()
    """What this way of looking cannot see, in words."""


@dataclass(frozen=True)
class Lock:
    """Exactly what runs: the waist between looking at an environment and building it."""

    version: int
    """`LOCK_VERSION`."""
    python: Python
    platform: Platform
    wheels: Tuple[Wheel, ...] = ()
    """Sorted by name."""
    carried: Tuple[Carried, ...] = ()
    """Sorted by name."""
    modules: Tuple[LocalModule, ...] = ()
    """Sorted by path."""
    data: Tuple[DataFile, ...] = ()
    libraries: Tuple[SystemLibrary, ...] = ()
    hosts: Tuple[str, ...] = ()
    declared: Tuple[str, ...] = ()
    """Requirements (PEP 508) that files beside the notebook and `pip install` in cells ask for; what drift re-resolves."""
    notes: Tuple[str, ...] = ()
    """What the user should know: a declared version that is not the installed one, an optional import left out, …"""
    unseen: Tuple[str, ...] = ()
    """What could not be seen, so that it may be missing."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Free for readers; not part of what is built."""

    def wheel(self, name: str) -> Optional[Wheel]:
        """Return the wheel of a normalised distribution name; None = it is carried, or not in the lock."""
        return next((w for w in self.wheels if w.name == name), None)


def travelling(lock: Lock) -> Lock:
    """Return the lock without paths of the machine that made it: this form may be written into images and reports."""
    return replace(
        lock,
        python=replace(lock.python, executable="", prefix="", base_prefix=""),
        carried=tuple(replace(c, files=tuple(replace(f, source="") for f in c.files)) for c in lock.carried),
        modules=tuple(replace(m, source="") for m in lock.modules),
    )
