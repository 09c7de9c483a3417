"""Strategy `lock`: a base, an interpreter, and the wheels of the lock; what is no wheel travels as its own files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import base as bases
from jup2kub.images import spec, wheels
from jup2kub.images.base import Base
from jup2kub.images.layer import Layer
from jup2kub.images.layers import Maker
from jup2kub.images.spec import Request, Rooted
from jup2kub.images.tree import Entry, file, folder, link
from jup2kub.images.wheels import Home
from jup2kub.model.env import Carried, Lock, Wheel

BIG = 1 << 20
"""Bytes of a wheel file from which it has a layer of its own, that other images share."""
MOST = 30
"""Layers of big wheels: each costs every further image 250 bytes, and Docker takes no more than 125 of all kinds."""


def root(request: Request, base: Base, maker: Maker) -> Rooted:
    """Return the base, which has an interpreter, with the lock's environment in it. Raises EnvironmentProblem."""
    lock = request.lock
    home = spec.home(lock.python.minor)
    python = lock.python.executable
    under = base.ground
    notes = [*base.notes]
    layers = [
        *base.layers,
        maker.make(
            ["venv", home.prefix, base.python, lock.python.minor],
            "python",
            under,
            lambda: skeleton(home, base),
        ),
    ]
    big, small = sizes(lock.wheels)
    tag = ["wheel", home.prefix, lock.python.minor, python_kind(lock)]

    def one(wheel: Wheel) -> Layer:
        return maker.make(
            [*tag, [wheel.sha256]],
            f"{wheel.name} {wheel.version}",
            under,
            lambda: installed([wheel], request, home, python),
        )

    with ThreadPoolExecutor(2) as pool:
        layers += pool.map(one, big)
    if small:
        digests = sorted(w.sha256 for w in small)
        layers.append(
            maker.make(
                [*tag, digests],
                f"{len(small)} small packages",
                under,
                lambda: installed(small, request, home, python),
            )
        )
    if lock.carried:
        recipe = [[c.name, c.version, [[f.target, f.sha256] for f in c.files]] for c in lock.carried]
        layers.append(
            maker.make(
                ["carried", *tag, recipe],
                "packages carried as they are",
                under,
                lambda: carried(lock.carried, home, python),
            )
        )
        notes += [f"{c.name} {c.version} is carried as it is: {c.reason}" for c in lock.carried]
    return Rooted(
        tuple(layers),
        variables(base),
        home.interpreter,
        base.architecture,
        base.packages,
        base.origin,
        tuple(notes),
    )


def python_kind(lock: Lock) -> list[str]:
    """Return what of the compiling interpreter shows in bytecode."""
    return [lock.python.implementation, lock.python.version]


def sizes(locked: Sequence[Wheel]) -> tuple[list[Wheel], list[Wheel]]:
    """Cut wheels into those with a layer of their own, and the others; both sorted by name."""
    ranked = sorted(locked, key=lambda w: (-w.bytes, w.name))
    big = {w.name for w in ranked[:MOST] if w.bytes >= BIG}
    ordered = sorted(locked, key=lambda w: w.name)
    return [w for w in ordered if w.name in big], [w for w in ordered if w.name not in big]


def variables(base: Base) -> dict[str, str]:
    """Return the environment variables of a container."""
    path = base.env.get("PATH", bases.DEFAULT_PATH)
    return {
        **base.env,
        "PATH": f"/{spec.ENVIRONMENT}/bin:{path}",
        "VIRTUAL_ENV": f"/{spec.ENVIRONMENT}",
        "HOME": f"/{bases.HOME}",
        "LANG": "C.UTF-8",
    }


def skeleton(home: Home, base: Base) -> Iterator[Entry]:
    """Yield a virtual environment (PEP 405) above the base's interpreter."""
    where = base.python.rpartition("/")[0]
    text = f"home = {where}\ninclude-system-site-packages = false\nversion = {home.python}\n"
    yield file(f"{home.prefix}/pyvenv.cfg", text.encode())
    yield link(f"{home.prefix}/bin/python", base.python)
    for name in ("python3", f"python{home.python}"):
        yield link(f"{home.prefix}/bin/{name}", "python")
    yield folder(home.site)
    # Modules that lie beside the notebook; in a project folder of its own the working folder comes first.
    yield file(f"{home.site}/jup2kub_project.pth", f"/{spec.PROJECT}\n".encode())
    yield folder(spec.PROJECT)


def installed(some: Sequence[Wheel], request: Request, home: Home, python: str) -> list[Entry]:
    """Return the entries of installed wheels, with bytecode. Raises EnvironmentProblem."""
    found: list[Entry] = []
    for wheel in some:
        path = request.wheel(wheel)
        wheels.check(path, wheel.sha256)
        found += wheels.entries(path, home)
    return [*found, *wheels.bytecode(found, home, python)]


def unchanged(path: Path, sha256: str, what: str) -> None:
    """Check that a file is what was locked. Raises EnvironmentProblem (J2K616)."""
    try:
        wheels.check(path, sha256)
    except EnvironmentProblem as error:
        raise EnvironmentProblem(
            "J2K616",
            f"{what} changed since the environment was locked",
            "build again: the environment is then locked as it is now",
        ) from error


def carried(some: Sequence[Carried], home: Home, python: str) -> list[Entry]:
    """Return the entries of distributions that travel as their own files. Raises EnvironmentProblem (J2K616)."""
    found = []
    for dist in some:
        for one in dist.files:
            path = Path(one.source)
            unchanged(path, one.sha256, f"{one.target} of {dist.name}")
            found.append(
                file(f"{home.site}/{one.target}", path, executable=bool(path.stat().st_mode & 0o111))
            )
    return [*found, *wheels.bytecode(found, home, python)]
