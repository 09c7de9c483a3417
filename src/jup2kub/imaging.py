"""From a notebook's path to its images: compiles it, locks its environment, and hands both to `images`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub import again, bundle, capturing, fingerprint, locking
from jup2kub.again import Found, Question, Shown, Used
from jup2kub.agent.launch import located
from jup2kub.capture import sbom
from jup2kub.capture.lock import Asked
from jup2kub.capture.lock import lock as make_lock
from jup2kub.capture.sbom import DebianPackage
from jup2kub.capture.split import Part
from jup2kub.capture.wheels import Vendor, default_cache, file_sha256
from jup2kub.compose import Settings, compile_notebook, default_store, open_store
from jup2kub.errors import UsageError
from jup2kub.fingerprint import Where
from jup2kub.images import build as building
from jup2kub.images import debian, dockerfile, spec
from jup2kub.images.build import Built
from jup2kub.images.layers import Maker
from jup2kub.images.spec import Package, Request, Step, Tell, Told
from jup2kub.kit.canon import canonical, digest, to_json
from jup2kub.model.env import Lock
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Plan
from jup2kub.store import profile

WORKERS = 8
"""The plan of images is one for a cluster: it must not hang on the cores of the machine that builds them."""
START = b"""import sys

from jup2kub.pod import main

sys.exit(main(sys.argv[1:]))
"""
"""In an image the program lies as a folder: nothing is unpacked at each start."""


@dataclass(frozen=True)
class Wanted:
    """Images that are asked for."""

    settings: Settings
    strategy: str = "lock"
    base: str = "debian"


@dataclass(frozen=True)
class Exported:
    """What another builder takes, for one step."""

    step: str
    path: Path
    """A folder with a Dockerfile, or a pack."""
    digest: str
    """`sha256:…` of its files."""
    bytes: int
    entrypoint: tuple[str, ...]


def export(wanted: Wanted, tell: Tell) -> tuple[Exported, ...]:
    """Write what other builders take into `NB.images` beside the notebook. Raises Jup2KubError."""
    settings = replace(wanted.settings, workers=WORKERS)
    asked = locking.asked(settings)
    with contextlib.closing(open_store(settings)) as store:
        plan = compile_notebook(asked.notebook, settings, store).plan
    path = located(settings.notebook)
    folder = path.with_name(f"{path.stem}.images")
    if wanted.strategy == "rpz":
        return _packs(settings, plan, folder, tell)
    vendor = Vendor(default_cache())
    lock = make_lock(asked, vendor)
    written = dockerfile.write(request(wanted, lock, asked.notebook, plan, vendor), folder)
    entrypoint = (spec.home(lock.python.minor).interpreter, f"/{spec.AGENT}")
    return tuple(_exported(step, place, entrypoint) for step, place in written.items())


def _packs(settings: Settings, plan: Plan, folder: Path, tell: Tell) -> tuple[Exported, ...]:
    """Capture the notebook, and make one pack per step of the plan: the paper's way."""
    named = [("main", plan.main), *((s.id, s.cells) for s in plan.steps)]
    parts = tuple(Part(number, name, cells) for number, (name, cells) in enumerate(named, start=1) if cells)
    captured = capturing.capture(
        settings, folder, rpz=True, selector="", tell=lambda text: tell(Told(text)), parts=parts
    )
    packs = {p.stem: p for p in captured.files if p.suffix == ".rpz"}
    if captured.traced.failed is not None:
        raise UsageError(
            "J2K627",
            f"cell {captured.traced.failed} raises, so that there is nothing to pack",
            "mend it first",
        )
    return tuple(_exported(part.title, packs[part.name], ()) for part in parts)


def _exported(step: str, place: Path, entrypoint: tuple[str, ...]) -> Exported:
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    listed = [[p.relative_to(place).as_posix(), file_sha256(p)] for p in files]
    return Exported(step, place, f"sha256:{digest(listed)}", sum(p.stat().st_size for p in files), entrypoint)


def build(wanted: Wanted, maker: Maker) -> Built:
    """Build the images of a notebook; nothing is done where nothing has changed. Raises Jup2KubError."""
    return _build(wanted, maker)[0]


def build_and_remember(wanted: Wanted, maker: Maker, question: Question, environ: Mapping[str, str]) -> Built:
    """Build images so that `again.look` finds them the next time; `wanted` is what `question` asks. Raises Jup2KubError."""
    began = time.time_ns()
    built, used = _build(wanted, maker)
    if used is not None:
        made = {b for _, image in built.images for b in (image.manifest, *image.blobs)} | {built.bill}
        again.remember(maker.blobs, question, environ, used, (Found(shown(built), built.notes), made), began)
    return built


def shown(built: Built, references: Mapping[str, str] | None = None) -> tuple[Shown, ...]:
    """Return the images as the user is told of them. `references`: by step, where they were pushed to."""
    return tuple(
        Shown(
            step,
            (references or {}).get(step, image.name),
            image.manifest.digest,
            image.size,
            built.unique(place),
            image.command.entrypoint,
        )
        for place, (step, image) in enumerate(built.images)
    )


def _build(wanted: Wanted, maker: Maker) -> tuple[Built, Used | None]:
    """Return the images, and what they depend on; None = that cannot be known."""
    settings = replace(wanted.settings, workers=WORKERS)
    asked = locking.asked(settings)
    with contextlib.closing(open_store(settings)) as store:
        compiled = compile_notebook(asked.notebook, settings, store)
    folder = (settings.store or default_store()).resolve() / "profile"
    advice = [str(profile.place(folder, key)) for key in compiled.keys.values()]
    where = fingerprint.where(asked.launch)
    declaring = locking.declaring(asked)
    key = _key(wanted, asked, compiled.plan, maker.kind, where, declaring) if where else ""
    known = _known(key, maker) if key else None
    if known is None:
        known = _make(wanted, asked, compiled.plan, maker)
        if key:
            maker.blobs.remember(key, known.to_record())
    if where is None:
        return known.built, None
    files = (*advice, *declaring, *known.files)
    return known.built, Used(where, frozenset(known.names), files, known.folders)


@dataclass(frozen=True)
class _Known:
    """What was built, and what of this machine is in it beside installed wheels."""

    built: Built
    files: Mapping[str, str]
    """Size and time of carried files, modules and libraries, by path."""
    names: tuple[str, ...]
    """Of the locked distributions."""
    folders: tuple[str, ...]
    """That carried files come from: a new file there would be carried too."""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        lists = {"names": list(self.names), "folders": list(self.folders)}
        return {"built": self.built.to_record(), "files": dict(self.files), **lists}


def _make(wanted: Wanted, asked: Asked, plan: Plan, maker: Maker) -> _Known:
    vendor = Vendor(default_cache())
    maker.tell(Told("locking the environment"))
    lock = make_lock(asked, vendor)
    built = building.build(request(wanted, lock, asked.notebook, plan, vendor), maker)
    carried = [f.source for c in lock.carried for f in c.files]
    others = [*(m.source for m in lock.modules), *(x.path for x in lock.libraries)]
    names = [*(w.name for w in lock.wheels), *(c.name for c in lock.carried)]
    folders = sorted({os.path.dirname(f) for f in carried})
    return _Known(built, fingerprint.of_files([*carried, *others]), tuple(names), tuple(folders))


def _key(wanted: Wanted, asked: Asked, plan: Plan, kind: str, where: Where, declaring: Sequence[str]) -> str:
    """Return a digest of everything that decides what is built."""
    path = located(wanted.settings.notebook)
    base = fingerprint.fact(os.path.abspath(wanted.base)) if os.path.isfile(wanted.base) else wanted.base
    return digest(
        [
            *(
                "built",
                fingerprint.of_program(again.PROGRAM),
                fingerprint.of_environment(asked.launch, where),
            ),
            *(path.name, locking.source_digest(asked.notebook), [s.payload.decode() for s in steps(plan)]),
            fingerprint.of_project(path.parent, locking.capture_folder(path) / locking.REPORT),
            fingerprint.of_files([*declaring, *again.MACHINE]),
            *(fingerprint.of_secrets(asked.values), sorted(asked.imports)),
            *(wanted.strategy, base, kind),
        ]
    )


def _known(key: str, maker: Maker) -> _Known | None:
    """Return what was built from the same things, if it is all there still."""
    record = maker.blobs.record(key)
    if record is None or not fingerprint.still(record["files"]):
        return None
    built = building.from_record(record["built"])
    blobs = {b for _, image in built.images for b in (image.manifest, *image.blobs)}
    whole = all(map(maker.blobs.has, blobs))
    return _Known(built, record["files"], tuple(record["names"]), tuple(record["folders"])) if whole else None


def request(wanted: Wanted, lock: Lock, notebook: Notebook, plan: Plan, vendor: Vendor) -> Request:
    """Return what is to be built."""
    path = wanted.settings.notebook
    source = locking.source_digest(notebook)

    def bill(packages: Sequence[Package], base: str) -> bytes:
        return sbom.sbom(lock, path.name, [DebianPackage(*p) for p in packages], base)

    def labels(made: bytes, step: str) -> Mapping[str, str]:
        return sbom.labels(lock, notebook=path.name, source=source, bill=made, step=step)

    return Request(
        name=building.image_name(path.stem),
        lock=lock,
        wheel=vendor.path,
        steps=steps(plan),
        notebook=canonical({"name": path.name, "sources": {str(c.index): c.source for c in notebook.code}}),
        agent={**bundle.files(Path(bundle.__file__).parent), "__main__.py": START},
        bill=bill,
        labels=labels,
        base=wanted.base,
        strategy=wanted.strategy,
        release=debian.release_here(),
    )


def steps(plan: Plan) -> tuple[Step, ...]:
    """Return what is each image's own: the cells, and what their kernel starts from; nothing that was measured."""

    def step(name: str, **facts: Any) -> Step:
        return Step(name, canonical(to_json({"step": name, **facts})))

    return (
        step("main", cells=plan.main),
        *(
            step(s.id, kind=s.kind, cells=s.cells, replays=s.replays, loads=s.loads, outputs=s.outputs)
            for s in plan.steps
        ),
    )
