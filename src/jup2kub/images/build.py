"""Builds the images of a notebook: one for the main line, one for each step; all but a few kilobytes are shared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jup2kub.images import base as bases
from jup2kub.images import closure, debian, environment, layer, oci, pull, pyc, reference, spec
from jup2kub.images.base import Base
from jup2kub.images.blobs import Blob
from jup2kub.images.layer import Layer
from jup2kub.images.layers import Maker
from jup2kub.images.oci import Command, Image
from jup2kub.images.spec import Request, Rooted, Step
from jup2kub.images.tree import Entry, file
from jup2kub.kit.canon import canonical, digest, to_json
from jup2kub.model.env import travelling

MAIN = "main"
LOCAL = "localhost"


ROOTS: Mapping[str, Callable[[Request, Base, Maker], Rooted]] = {
    "lock": environment.root,
    "closure": closure.root,
}
"""The strategies that make images here."""


@dataclass(frozen=True)
class Built:
    """The images of a notebook."""

    images: tuple[tuple[str, Image], ...]
    """Step and image; `main` first."""
    notes: tuple[str, ...]
    """What the user should know."""
    bill: Blob
    """The bill of materials (CycloneDX JSON)."""

    def to_record(self) -> dict[str, Any]:
        """Return the images as JSON values."""
        return {
            "images": [[step, image.to_record()] for step, image in self.images],
            "notes": list(self.notes),
            "bill": to_json(self.bill),
        }

    def unique(self, place: int) -> int:
        """Return the bytes of the image at `place` that none before it has."""
        earlier = {b.digest for _, image in self.images[:place] for b in (image.manifest, *image.blobs)}
        image = self.images[place][1]
        own = {b.digest: b.size for b in (image.manifest, *image.blobs) if b.digest not in earlier}
        return sum(own.values())


def from_record(record: Mapping[str, Any]) -> Built:
    """Return the images of `to_record`."""
    images = tuple((step, oci.from_record(image)) for step, image in record["images"])
    return Built(images, tuple(record["notes"]), Blob(**record["bill"]))


def build(request: Request, maker: Maker) -> Built:
    """Build all images of a request. Raises EnvironmentProblem, UsageError."""
    base = open_base(request, maker)
    if not base.python and request.strategy == "lock":
        base = closure.bring(request, base, maker)
    rooted = ROOTS[request.strategy](request, base, maker)
    return assemble(request, rooted, maker)


def open_base(request: Request, maker: Maker) -> Base:
    """Return the base that is asked for, complete. Raises EnvironmentProblem, UsageError."""
    wanted, lock = request.base, request.lock
    env: Mapping[str, str] = {}
    packages: tuple[tuple[str, str, str], ...] = ()
    architecture = pull.MACHINES.get(lock.platform.machine, lock.platform.machine)
    if wanted == "debian":
        made = _debian_for(request, maker)
        below, origin, packages = [made.layer], f"debian {made.suite}", made.packages
    elif Path(wanted).is_file():
        below, origin = [_tar(Path(wanted), maker)], Path(wanted).name
    else:
        pulled = _registry_image(wanted, architecture, maker)
        below, origin, env = list(pulled.layers), pulled.name, pulled.env
    done = bases.complete(maker.blobs, below, lock.python.minor, lock.python.executable, maker.kind)
    if done.architecture not in ("", architecture):
        raise pull.other_architecture(origin, f"linux/{done.architecture}", architecture)
    above = [done.layer] if done.layer else []
    return Base((*below, *above), origin, done.python, packages, env, architecture, done)


def _tar(path: Path, maker: Maker) -> Layer:
    """Return the layer of a tar; it is found again by name, size and time."""
    facts = path.stat()
    key = digest(["tar", str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ino, maker.kind])
    known = maker.blobs.record(key)
    if known is not None and maker.blobs.has(layer.from_record(known).blob):
        return layer.from_record(known)
    total = path.stat().st_size
    made = bases.from_tar(
        maker.blobs, path, maker.kind, lambda done: maker.tell(spec.Told(f"reading {path.name}", done, total))
    )
    maker.blobs.remember(key, made.to_record())
    return made


def _registry_image(wanted: str, architecture: str, maker: Maker) -> pull.Pulled:
    source = reference.parse(wanted)

    def tell(what: str, done: int, total: int) -> None:
        maker.tell(spec.Told(f"{what} of {source.name}", done, total))

    return pull.Pull(maker.blobs, maker.registry(source), source, tell).image(architecture)


def _debian_for(request: Request, maker: Maker) -> debian.Debian:
    """Return Debian with the notebook's Python, or, where that is brought along, with a C library as new as here."""
    minor, libc = request.lock.python.minor, closure.glibc(request.lock)
    own = request.strategy == "closure" or minor not in debian.SUITES
    suite = debian.suite_as_new(libc, minor) if own else debian.SUITES[minor]
    wanted = {*debian.PACKAGES, *(() if own else (f"python{minor}",))}
    if suite == request.release:
        # Of another release the names may mean something else.
        wanted |= {x.package for x in request.lock.libraries if x.package}
    return _debian(suite, sorted(wanted), maker)


def _debian(suite: str, packages: Sequence[str], maker: Maker) -> debian.Debian:
    """Return a layer of Debian packages: the one made first is kept until it is removed, for equal images."""
    key = digest(["debian", debian.VERSION, suite, sorted(packages), maker.kind])
    known = maker.blobs.record(key)
    if known is not None:
        found = layer.from_record(known["layer"])
        if maker.blobs.has(found.blob):
            return debian.Debian(found, suite, tuple((p[0], p[1], p[2]) for p in known["packages"]))
    made = debian.build(maker.blobs, suite, packages, maker.kind, lambda text: maker.tell(spec.Told(text)))
    maker.blobs.remember(key, {"layer": made.layer.to_record(), "packages": [list(p) for p in made.packages]})
    return made


def assemble(request: Request, rooted: Rooted, maker: Maker) -> Built:
    """Put what is the notebook's own above its environment."""
    ground = rooted.ground
    bill = request.bill(rooted.packages, rooted.origin)
    common = [
        *rooted.layers,
        maker.make(["agent", *_agent_identity(request)], "agent", ground, lambda: _agent(request)),
        maker.make(
            ["notebook", *_identity(request, bill)], "notebook", ground, lambda: _notebook(request, bill)
        ),
    ]
    images = []
    for step in request.steps:
        own = _step(step, rooted, maker)
        command = Command(
            entrypoint=(rooted.interpreter, f"/{spec.AGENT}"),
            arguments=("agent",),
            env=rooted.env,
            folder=f"/{bases.HOME}",
            labels=request.labels(bill, "" if step.id == MAIN else step.id),
        )
        draft = oci.assemble(maker.blobs, "", [*common, own], command, rooted.architecture)
        images.append((step.id, oci.named(draft, local_name(request.name, step.id, draft.manifest.digest))))
    return Built(tuple(images), rooted.notes, maker.blobs.put(bill))


def _step(step: Step, rooted: Rooted, maker: Maker) -> Layer:
    entries = [file(spec.STEP, step.payload)]
    return maker.make(["step", digest(step.payload)], f"step {step.id}", rooted.ground, lambda: entries)


def _agent_identity(request: Request) -> list[Any]:
    return [
        *environment.python_kind(request.lock),
        {path: digest(data) for path, data in request.agent.items()},
    ]


def _agent(request: Request) -> list[Entry]:
    """Return the agent as a folder: it starts the kernel child as one, and nothing is unpacked at each start."""
    found = [file(f"{spec.AGENT}/{path}", data) for path, data in sorted(request.agent.items())]
    sources = [
        pyc.Source(e.path, e.content)
        for e in found
        if isinstance(e.content, bytes) and e.path.endswith(".py")
    ]
    tag = spec.home(request.lock.python.minor).tag
    done = pyc.compile_all(sources, request.lock.python.executable)
    return [*found, *(file(pyc.cached_path(path, tag), data) for path, data in done.items())]


def _identity(request: Request, bill: bytes) -> list[Any]:
    modules = [[m.path, m.sha256] for m in request.lock.modules]
    return [
        digest(request.notebook),
        digest(bill),
        digest(to_json(travelling(request.lock))),
        modules,
    ]


def _notebook(request: Request, bill: bytes) -> list[Entry]:
    lock = canonical(to_json(travelling(request.lock)))
    own = [file(spec.NOTEBOOK, request.notebook), file(spec.LOCK, lock), file(spec.SBOM, bill)]
    return [*own, *_modules(request)]


def _modules(request: Request) -> Iterator[Entry]:
    """Yield the project's modules, as they were when they were locked. Raises EnvironmentProblem (J2K616)."""
    for module in request.lock.modules:
        environment.unchanged(Path(module.source), module.sha256, module.path)
        yield file(f"{spec.PROJECT}/{module.path}", Path(module.source))


def local_name(name: str, step: str, manifest: str) -> str:
    """Return an image's name with a tag that no other content has: a later build never takes it away."""
    tag = re.sub(r"[^\w.-]", "-", step)[:100].strip(".-") or "step"
    return f"{LOCAL}/{name}:{tag}-{manifest.removeprefix('sha256:')[:12]}"


def image_name(stem: str) -> str:
    """Return the name of a notebook as registries write names (distribution-spec, “Pulling manifests”)."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return name[:100].strip("-") or "notebook"
