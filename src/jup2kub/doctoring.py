"""Checks: is this machine ready for a notebook, has the world moved since its lock, can its images be built again?"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub import imaging, locking
from jup2kub.agent.kernel import ForkRefused, Kernel, RunCell
from jup2kub.agent.launch import Launch, find
from jup2kub.capture import backends, drift
from jup2kub.capture.environment import Environment, look
from jup2kub.capture.lock import lock as make_lock
from jup2kub.capture.lock import look_around
from jup2kub.capture.pylock import lock_digest
from jup2kub.capture.resolve import pip_command
from jup2kub.capture.wheels import Vendor, default_cache
from jup2kub.compose import Settings, compile_notebook, default_store, open_store, read_notebook
from jup2kub.errors import EnvironmentProblem, Jup2KubError
from jup2kub.images import build as building
from jup2kub.images.blobs import Blobs
from jup2kub.images.layers import Maker
from jup2kub.images.reference import Reference
from jup2kub.images.registry import Registry
from jup2kub.model.env import Lock

OPTIONAL = (
    ("zstandard", "images compress better and faster", "images"),
    ("lightkube", "runs on Kubernetes", "kubernetes"),
    ("reprozip", "captures and packs by ReproZip's tracer", "capture"),
    ("yaml", "reads environment.yml", "capture"),
    ("nbmanips", "selectors in nbmanips' words", "nbmanips"),
)
PROGRAMS = (
    ("mmdebstrap", "makes a Debian base (`apt-get install mmdebstrap`)"),
    ("strace", "captures where ReproZip's tracer cannot (`apt-get install strace`)"),
    ("kubectl", "applies what `render` prints"),
)
ENOUGH = 2 << 30
"""Bytes that should be free in the cache: wheels and layers of an ordinary notebook."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """`ok`, `note` (something is less good than it could be) or `problem` (a notebook would not run)."""
    text: str
    code: str = ""
    """Of the error; empty = none."""
    hint: str = ""


def machine(settings: Settings | None, kernel: str = "", store: Path | None = None) -> tuple[Check, ...]:
    """Look at this machine, for one notebook or (None) in general. Raises UsageError if the notebook cannot be read.

    `kernel`: name of a kernelspec, for no notebook; empty = the one a notebook without any gets. `store`: its folder;
    None = the user's cache folder.
    """
    found: list[Check] = []
    folder = Path.cwd()
    tops: tuple[str, ...] = ()
    environment: Environment | None = None
    launch: Launch | None = None
    try:
        if settings is not None:
            asked = locking.asked(settings)
            launch = asked.launch
            environment = look_around(asked).environment
            tops = tuple(
                n for n, m in environment.modules.items() if m.kind == "file" and environment.owner(m.origin)
            )
        else:
            launch = find(kernel, cwd=str(folder))
            environment = look(launch.argv, launch.env, folder, ())
        found.append(_kernel(launch, environment))
    except EnvironmentProblem as error:
        found.append(_problem("kernel", error))
    found.append(_store(store))
    found.append(_room())
    if launch is not None and environment is not None:
        found.append(_forks(launch, tops))
        found.append(_pip(environment))
    found.append(_tracer())
    found += [_optional(*entry) for entry in OPTIONAL]
    found += [_program(*entry) for entry in PROGRAMS]
    return tuple(found)


def _problem(name: str, error: Jup2KubError) -> Check:
    return Check(name, "problem", error.message, error.code, error.hint or "")


def _kernel(launch: Launch, environment: Environment) -> Check:
    python, ipykernel = environment.python, environment.distributions.get("ipykernel")
    if ipykernel is None:
        return Check(
            "kernel", "problem", f"{python.executable} has no ipykernel", "J2K651",
            f"`{python.executable} -m pip install ipykernel`",
        )  # fmt: skip
    where = f"kernelspec {launch.name}" if launch.name else "no kernelspec: jup2kub's own interpreter"
    return Check("kernel", "ok", f"Python {python.version}, ipykernel {ipykernel.version} ({where})")


def _store(folder: Path | None) -> Check:
    place = folder or default_store()
    try:
        with contextlib.closing(open_store(Settings(notebook=Path(), workers=1, store=place))) as store:
            usage = store.usage()
    except EnvironmentProblem as error:
        return _problem("store", error)
    return Check("store", "ok", f"{place}: {usage.bytes / 1e9:.2f} GB")


def _room() -> Check:
    place = default_cache()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        way_out = "name another folder for caches: `XDG_CACHE_HOME=DIR jup2kub …`"
        return Check(
            "cache", "note", f"wheels and layers cannot be kept: no right to write {place}", "J2K674", way_out
        )
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free for wheels and layers in {place}"
    if free < ENOUGH:
        return Check("cache", "note", text, "J2K503", "make room, or set XDG_CACHE_HOME to another disk")
    return Check("cache", "ok", text)


def _forks(launch: Launch, tops: tuple[str, ...]) -> Check:
    """Try a fork of a kernel that has imported the notebook's libraries."""

    async def attempt() -> str:
        kernel = await Kernel.start(launch)
        try:
            text = "\n".join(f"try:\n    import {name}\nexcept Exception:\n    pass" for name in tops)
            await kernel.run(RunCell(0, 0, text or "pass", silent=True))
            try:
                copy = await kernel.fork()
            except ForkRefused as refused:
                return refused.reason
            try:
                await copy.run(RunCell(0, 0, "pass", silent=True))
            finally:
                await copy.close()
            return ""
        finally:
            await kernel.close()

    after = f" after importing {', '.join(tops[:6])}{', …' if len(tops) > 6 else ''}" if tops else ""
    try:
        why = asyncio.run(attempt())
    except EnvironmentProblem as error:
        return _problem("forks", error)
    if why:
        return Check(
            "forks", "note", f"a copy of the kernel is not safe{after}: {why}; steps run in fresh kernels"
        )
    return Check("forks", "ok", f"a copy of the kernel works{after}")


def _pip(environment: Environment) -> Check:
    try:
        return Check("pip", "ok", " ".join(pip_command(environment)))
    except EnvironmentProblem as error:
        return Check("pip", "note", error.message, error.code, error.hint or "")


def _tracer() -> Check:
    chosen = backends.choose()
    if chosen.name == "reprozip":
        return Check("capture", "ok", "ReproZip's tracer works")
    return Check(
        "capture",
        "note",
        f"captures by {chosen.name}, for {chosen.why}",
        "",
        "`pip install 'jup2kub[capture]'`",
    )


def _optional(module: str, use: str, extra: str) -> Check:
    if importlib.util.find_spec(module) is not None:
        return Check(module, "ok", use)
    return Check(module, "note", f"not installed: {use}", "", f"`pip install 'jup2kub[{extra}]'`")


def _program(name: str, use: str) -> Check:
    path = shutil.which(name)
    return Check(name, "ok" if path else "note", path or f"not found: {use}")


def drifted(
    settings: Settings, maker: Maker, tell: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Say what would resolve differently today, and prove that the vendored inputs give the same images again.

    Raises Jup2KubError: as `imaging.build`, and J2K671 if the index does not answer.
    """
    asked = locking.asked(settings)
    vendor = Vendor(default_cache())
    lock = make_lock(asked, vendor)
    environment = look(asked.launch.argv, asked.launch.env, asked.folder, ())
    tell("resolving again, as of today")
    found = drift.drift(lock, environment)
    before = drift.since(asked.folder / "pylock.toml", lock)
    tell("building again, from the vendored inputs alone")
    return {
        "lock": lock_digest(lock),
        "asked": list(found.asked),
        "unresolvable": found.unresolvable,
        "changes": [vars(c) | {"kind": c.kind} for c in found.changes],
        "environment": [vars(c) | {"kind": c.kind} for c in before],
        "rebuilt": rebuilt(settings, maker, lock, vendor),
    }


def rebuilt(settings: Settings, maker: Maker, lock: Lock, vendor: Vendor) -> dict[str, Any]:
    """Build the images, and once more with an empty cache of layers, above the same base and without any registry.

    The second build reads the vendored wheels and the lock; nothing in it asks an index: neither pip nor a registry has a
    part in it. Raises Jup2KubError.
    """
    began = time.monotonic()
    settings = replace(settings, workers=imaging.WORKERS)
    notebook = read_notebook(settings)
    with contextlib.closing(open_store(settings)) as store:
        plan = compile_notebook(notebook, settings, store).plan
    request = imaging.request(imaging.Wanted(settings), lock, notebook, plan, vendor)
    base = building.open_base(request, maker)
    first = building.assemble(request, building.ROOTS[request.strategy](request, base, maker), maker)
    with tempfile.TemporaryDirectory(prefix="j2k-again-", dir=maker.blobs.root) as folder:
        again = Maker(Blobs(Path(folder)), maker.kind, maker.tell, _no_registry)
        for below in base.layers:
            os.link(maker.blobs.path(below.blob.digest), again.blobs.path(below.blob.digest))
        second = building.assemble(request, building.ROOTS[request.strategy](request, base, again), again)
    digests = [
        {"step": step, "digest": one.manifest.digest, "again": other.manifest.digest}
        for (step, one), (_, other) in zip(first.images, second.images, strict=True)
    ]
    return {
        "same": all(d["digest"] == d["again"] for d in digests),
        "images": digests,
        "seconds": round(time.monotonic() - began, 3),
    }


def _no_registry(wanted: Reference) -> Registry:
    raise EnvironmentProblem(
        "J2K695",
        f"building again asks for {wanted.name}: it is not among the inputs that are kept",
        "build it once more",
    )
