"""Strategy `closure`: this machine's interpreter and the notebook's packages as they are, at their own paths.

For conda, editable installs, and whatever no wheel can carry: nothing is relocated, since such environments hold their
own path in many files. The base's C library is as new as this machine's or newer, so it serves both; of other
libraries the image gets those that the base does not have.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import base as bases
from jup2kub.images import environment, machine, pyc, spec
from jup2kub.images.base import Base
from jup2kub.images.layer import Layer
from jup2kub.images.layers import Maker
from jup2kub.images.machine import Closure, Interpreter
from jup2kub.images.spec import Request, Rooted
from jup2kub.images.tree import Entry, Ground, file
from jup2kub.model.env import Lock

BIG = 4 << 20
"""Bytes of an installed distribution from which it has a layer of its own."""


def root(request: Request, base: Base, maker: Maker) -> Rooted:
    """Return the base with this machine's environment in it. Raises EnvironmentProblem."""
    lock = request.lock
    fits(base, lock)
    python = machine.interpreter(lock.python.executable)
    parts = _parts(lock, python)
    below = opened(base.ground, [p for paths in parts.values() for p in paths])
    layers = [*base.layers]
    for title, paths in _grouped(parts):
        layers.append(_layer(title, paths, below, lock, maker))
    everything = [p for paths in parts.values() for p in paths] + machine.seen_libraries(lock)
    own, searched = Closure(base.libraries).of(everything)
    programs = [p for p in machine.seen_libraries(lock) if posixpath.basename(p) not in base.libraries]
    layers.append(_libraries([*own, *programs], searched, below, maker))
    layers.append(maker.make(["project", python.site], "project", below, lambda: [_project(python)]))
    env = {
        **environment.variables(base),
        "PATH": f"{posixpath.dirname(python.executable)}:{base.env.get('PATH', bases.DEFAULT_PATH)}",
        **({"LD_LIBRARY_PATH": f"/{machine.LIBRARIES}"} if searched else {}),
    }
    env.pop("VIRTUAL_ENV")
    notes = [f"the image holds the interpreter and packages of this machine, below {python.prefix} as here"]
    if hidden(python.prefix) or hidden(python.base):
        notes.append(
            "a container with a /tmp of its own, as pods have, hides it there: make the environment elsewhere"
        )
    return Rooted(
        tuple(layers), env, python.executable, base.architecture, base.packages, base.origin, tuple(notes)
    )


def hidden(prefix: str) -> bool:
    """Return whether an environment lies where containers mount something of their own."""
    return posixpath.normpath(prefix).startswith(("/tmp/", "/dev/", "/run/", "/proc/", "/sys/"))


def bring(request: Request, base: Base, maker: Maker) -> Base:
    """Return the base with this machine's interpreter in it, without any packages. Raises EnvironmentProblem."""
    lock = request.lock
    fits(base, lock)
    python = machine.interpreter(os.path.realpath(lock.python.executable))
    paths = machine.standard_library(python)
    below = opened(base.ground, paths)
    own, searched = Closure(base.libraries).of(paths)
    layers = (
        _layer(f"python {lock.python.version}", paths, below, lock, maker),
        _libraries(own, searched, below, maker),
    )
    env = {"LD_LIBRARY_PATH": f"/{machine.LIBRARIES}"} if searched else {}
    note = f"{base.origin} has no Python {lock.python.minor}: the image holds this machine's own"
    return replace(
        base,
        layers=(*base.layers, *layers),
        python=python.executable,
        env={**base.env, **env},
        notes=(*base.notes, note),
    )


def fits(base: Base, lock: Lock) -> None:
    """Check that programs of this machine run on the base. Raises EnvironmentProblem (J2K619)."""
    if base.glibc < (glibc(lock) or (0, 0)):
        raise EnvironmentProblem(
            "J2K619",
            f"the base ({base.origin}) has an older C library than this machine, whose programs it cannot run",
            "leave --base out, or name a newer one",
        )


def glibc(lock: Lock) -> tuple[int, int] | None:
    """Return the version of this machine's C library; None = it is not glibc."""
    name, _, version = lock.platform.libc.partition(" ")
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if name == "glibc" and major.isdigit() and minor.isdigit() else None


def opened(ground: Ground, paths: Iterable[str]) -> Ground:
    """Return the ground with the folders above `paths` open to all: user 1000 must get through `/root`."""
    above = {ground.place(p) for path in paths for p in _above(path)}
    return Ground({p: m | 0o555 if p in above else m for p, m in ground.folders.items()}, ground.links)


def _above(path: str) -> list[str]:
    words = path.strip("/").split("/")[:-1]
    return ["/".join(words[: i + 1]) for i in range(len(words))]


def _parts(lock: Lock, python: Interpreter) -> dict[str, list[str]]:
    """Return the files of the interpreter, and of each distribution of the lock as it is installed."""
    names = [w.name for w in lock.wheels] + [c.name for c in lock.carried]
    found = {f"python {lock.python.version}": machine.standard_library(python)}
    if lock.python.conda:
        found["conda packages"] = machine.conda_files(python, names)
    sources = {c.name: [f.source for f in c.files] for c in lock.carried}
    missing = []
    for name in names:
        paths = [*python.distributions.get(name, ()), *sources.get(name, [])]
        if not paths:
            missing.append(name)
        found[name] = sorted(set(paths))
    if missing:
        raise EnvironmentProblem(
            "J2K615",
            f"the notebook needs {', '.join(missing)}, which this machine's environment does not have",
            "install it, or take the strategy `lock`, which fetches what the files beside the notebook ask for",
        )
    return found


def _grouped(parts: dict[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Return titles and files of the layers: big distributions alone, the others together."""
    taken: set[str] = set()
    big: list[tuple[str, list[str]]] = []
    small: list[str] = []
    count = 0
    for title, paths in parts.items():
        new = [p for p in paths if p not in taken]
        taken |= set(new)
        if len(big) < environment.MOST and sum(os.stat(p).st_size for p in new) >= BIG:
            big.append((title, new))
        else:
            small += new
            count += 1
    return [*big, (f"{count} small packages", small)]


def _layer(title: str, paths: Sequence[str], below: Ground, lock: Lock, maker: Maker) -> Layer:
    facts = [[p, os.stat(p).st_size, os.stat(p).st_mtime_ns] for p in paths]
    recipe = ["machine", environment.python_kind(lock), facts]
    return maker.make(recipe, title, below, lambda: _with_bytecode(machine.entries(paths), lock))


def _with_bytecode(found: list[Entry], lock: Lock) -> list[Entry]:
    tag = spec.home(lock.python.minor).tag
    sources = [
        pyc.Source(e.path, e.content.read_bytes())
        for e in sorted(found, key=lambda e: e.path)
        if e.path.endswith(".py") and isinstance(e.content, Path) and pyc.is_worth(e.path)
    ]
    done = pyc.compile_all(sources, lock.python.executable)
    return [*found, *(file(pyc.cached_path(path, tag), data) for path, data in done.items())]


def _libraries(own: Sequence[str], searched: dict[str, str], below: Ground, maker: Maker) -> Layer:
    # A library that is found by its path may lie where nothing else of the environment does.
    below = opened(below, [*own, *map(os.path.realpath, own)])
    listed = sorted({*own, *searched.values()})
    facts = [[p, os.stat(p).st_size, os.stat(p).st_mtime_ns] for p in listed]

    def entries() -> list[Entry]:
        placed = [
            file(f"{machine.LIBRARIES}/{name}", Path(path), executable=True)
            for name, path in sorted(searched.items())
        ]
        return [*machine.entries(sorted(set(own))), *placed]

    return maker.make(["libraries", sorted(searched), facts], "libraries of this machine", below, entries)


def _project(python: Interpreter) -> Entry:
    return file(f"{python.site}/jup2kub_project.pth", f"/{spec.PROJECT}\n".encode())
