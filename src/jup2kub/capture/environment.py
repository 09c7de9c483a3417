"""The installed distributions of a notebook's kernel, as the kernel's own interpreter tells them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from jup2kub.errors import EnvironmentProblem
from jup2kub.model.env import Platform, Python

PROBE = Path(__file__).with_name("probe.py")
SECONDS = 120
"""An interpreter on a slow network disk may take long to list its packages; one that takes longer hangs."""


@dataclass(frozen=True)
class Installed:
    """One installed distribution."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    folder: str
    """Its dist-info folder; empty = not known."""
    site: str
    """Folder that its file names are relative to."""
    requires: tuple[str, ...] = ()
    """PEP 508, as its metadata say."""
    licence: str = ""
    installer: str = ""
    direct_url: Mapping[str, Any] | None = None
    """PEP 610; None = it came from an index."""
    tags: tuple[str, ...] = ()
    """Of its wheel; empty = it says none."""
    files: tuple[tuple[str, str | None, int | None], ...] = ()
    """RECORD: path relative to `site`, URL-safe base64 sha256 or None, size or None."""
    editable: Mapping[str, str] = field(default_factory=dict)
    """Import name -> path, of an editable install, or where no list of files was made."""

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """Top-level names that it brings."""
        return tuple(sorted({*self.editable, *top_level(path for path, _, _ in self.files)}))


@dataclass(frozen=True)
class Module:
    """Where a top-level module comes from."""

    kind: str
    """`builtin`, `file`, `namespace` or `absent`."""
    origin: str = ""
    """Absolute path of its file; empty for other kinds."""
    places: tuple[str, ...] = ()
    """Folders of a package."""


@dataclass(frozen=True)
class Environment:
    """What the kernel's interpreter has."""

    python: Python
    platform: Platform
    markers: Mapping[str, str]
    stdlib: str
    distributions: Mapping[str, Installed]
    """By normalised name."""
    modules: Mapping[str, Module]
    """Of the names that were asked for."""

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Distribution by real path of each of its files."""
        found: dict[str, str] = {}
        for dist in self.distributions.values():
            site = os.path.realpath(dist.site)
            for path, _, _ in dist.files:
                found.setdefault(os.path.normpath(os.path.join(site, path)), dist.name)
        return found

    def owner(self, path: str) -> str | None:
        """Return the distribution that a file belongs to, editable ones by their folders; None = nobody's."""
        # The folder is resolved, not the file: a file that is itself a link stays the distribution's.
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if real in self.owners:
            return self.owners[real]
        for dist in self.distributions.values():
            for place in dist.editable.values():
                whole = os.path.realpath(place)
                if real == whole or real.startswith(whole + os.sep):
                    return dist.name
        return None

    def providers(self, dotted: str) -> tuple[str, ...]:
        """Return the distributions whose files are the module `dotted`, by its longest part that any of them has."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            prefix = "/".join(parts[:length])
            found = {
                d.name
                for d in self.distributions.values()
                if any(is_module(path, prefix) for path, _, _ in d.files)
                or (length == 1 and parts[0] in d.editable)
            }
            if found:
                return tuple(sorted(found))
        return ()

    def applies(self, requirement: Requirement, extras: Iterable[str] = ()) -> bool:
        """Whether a requirement counts on this machine, for any of `extras`."""
        if requirement.marker is None:
            return True
        return any(requirement.marker.evaluate({**self.markers, "extra": e}) for e in (*extras, ""))


def is_module(path: str, prefix: str) -> bool:
    """Whether a file of RECORD is the module (or in the package) whose name is `prefix`, with slashes."""
    return path.startswith(prefix + "/") or (path.startswith(prefix + ".") and suffix_is_code(path))


def suffix_is_code(path: str) -> bool:
    """Whether the file can be imported."""
    return path.endswith((".py", ".so", ".pyd", ".pyc"))


def top_level(paths: Iterable[str]) -> set[str]:
    """Return the import names that files with these names, relative to site-packages, make possible."""
    names = set()
    for path in paths:
        first, _, rest = path.partition("/")
        name = first if rest else first.split(".")[0]
        if name.isidentifier() and name != "__pycache__" and (suffix_is_code(path) if not rest else True):
            names.add(name)
    return names


def parse(text: str) -> Requirement | None:
    """Return a requirement of some package's metadata; None if it is not valid (old packages have such)."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def look(command: Iterable[str], env: Mapping[str, str], folder: Path, names: Iterable[str]) -> Environment:
    """Ask the interpreter that `command` starts what it has, and where the top-level modules `names` come from.

    `env`: the whole environment of the process. `folder`: where the notebook lies; modules in it come first, as in
    its kernel. Raises EnvironmentProblem J2K650 if the interpreter does not answer.
    """
    asked = json.dumps(sorted({n.partition(".")[0] for n in names}))
    try:
        done = subprocess.run(
            [*command, "-", asked],
            input=PROBE.read_bytes(),
            capture_output=True,
            env=dict(env),
            cwd=folder,
            timeout=SECONDS,
            check=False,
        )
        text = done.stdout.decode("utf-8", "surrogateescape")
        told = json.loads(text[text.index("\x02") + 1 : text.index("\x03")])
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        last = done.stderr.decode(errors="replace").strip()[-300:] if "done" in locals() else str(error)
        raise EnvironmentProblem(
            "J2K650",
            f"the kernel's interpreter cannot tell what is installed: {last or error}",
            "see whether `python -c 'import importlib.metadata'` works in it; it needs Python 3.9 or newer",
        ) from error
    return from_answer(told)


def from_answer(told: Mapping[str, Any]) -> Environment:
    """Return the environment that the probe has told."""
    python = told["python"]
    return Environment(
        python=Python(
            version=python["version"],
            implementation=python["implementation"],
            executable=python["executable"],
            prefix=python["prefix"],
            base_prefix=python["base_prefix"],
            conda=python["conda"],
        ),
        platform=Platform(
            system=told["markers"]["sys_platform"],
            machine=told["markers"]["platform_machine"],
            libc=told["libc"],
        ),
        markers=told["markers"],
        stdlib=python["stdlib"],
        distributions={d.name: d for d in map(_installed, told["distributions"])},
        modules={
            name: Module(m["kind"], m.get("origin", ""), tuple(m.get("places", ())))
            for name, m in told["modules"].items()
        },
    )


def _installed(told: Mapping[str, Any]) -> Installed:
    return Installed(
        name=canonicalize_name(told["name"]),
        version=str(told["version"]),
        folder=told["folder"],
        site=told["site"],
        requires=tuple(told["requires"]),
        licence=told["licence"],
        installer=told["installer"],
        direct_url=told["direct_url"],
        tags=tuple(told["tags"]),
        files=tuple((str(p), h, s) for p, h, s in told["files"]),
        editable=told["editable"],
    )
