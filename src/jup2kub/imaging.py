"""From a notebook's path to its images: compiles it, locks its environment, and hands both to `images`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub import bundle, locking
from jup2kub.capture import sbom
from jup2kub.capture.lock import lock as make_lock
from jup2kub.capture.wheels import Vendor, default_cache
from jup2kub.compose import Settings, compile_notebook, open_store
from jup2kub.images import build as building
from jup2kub.images.build import Built
from jup2kub.images.layers import Maker
from jup2kub.images.spec import Request, Step, Told
from jup2kub.kit.canon import canonical, to_json
from jup2kub.model.env import Lock
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Plan

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


def build(wanted: Wanted, maker: Maker) -> Built:
    """Build the images of a notebook. Raises Jup2KubError."""
    settings = replace(wanted.settings, workers=WORKERS)
    asked = locking.asked(settings)
    with contextlib.closing(open_store(settings)) as store:
        plan = compile_notebook(asked.notebook, settings, store).plan
    vendor = Vendor(default_cache())
    maker.tell(Told("locking the environment"))
    lock = make_lock(asked, vendor)
    return building.build(request(wanted, lock, asked.notebook, plan, vendor), maker)


def request(wanted: Wanted, lock: Lock, notebook: Notebook, plan: Plan, vendor: Vendor) -> Request:
    """Return what is to be built."""
    path = wanted.settings.notebook
    bill = sbom.sbom(lock, path.name)
    source = locking.source_digest(notebook)
    return Request(
        name=building.image_name(path.stem),
        lock=lock,
        wheel=vendor.path,
        steps=steps(plan),
        notebook=canonical({"name": path.name, "sources": {str(c.index): c.source for c in notebook.code}}),
        agent={**bundle.files(Path(bundle.__file__).parent), "__main__.py": START},
        sbom=bill,
        base=wanted.base,
        strategy=wanted.strategy,
        labels=sbom.labels(lock, notebook=path.name, source=source, bill=bill),
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
