"""`jup2kub build`: container images of a notebook, without a daemon."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jup2kub import imaging
from jup2kub.cli import common
from jup2kub.compose import Settings
from jup2kub.errors import EXIT_OK, EnvironmentProblem, UsageError
from jup2kub.images import load, oci, publish, squeeze
from jup2kub.images.blobs import Blobs, default_folder
from jup2kub.images.build import Built
from jup2kub.images.layers import Maker
from jup2kub.images.push import Progress
from jup2kub.images.spec import Told

EXPORTS = ("dockerfile", "rpz")
"""Strategies that write what other builders take."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("notebook", type=Path, metavar="NB", help="the notebook")
    parser.add_argument(
        "--strategy",
        choices=("lock", "closure", "dockerfile", "rpz"),
        default="lock",
        help="lock: a base and hash-checked wheels; closure: this machine's interpreter and packages as they are; "
        "dockerfile, rpz: folders for other builders (default: lock)",
    )
    parser.add_argument(
        "--base",
        default="debian",
        metavar="REF|TAR|debian",
        help="what images stand on: a registry image, a tar of a root file system, or Debian packages "
        "(default: debian)",
    )
    parser.add_argument("--archive", type=Path, metavar="F.tar", help="write all images into one archive")
    parser.add_argument("--push", metavar="HOST/NAME", help="push the images into this repository")
    parser.add_argument(
        "--load", choices=sorted(load.COMMANDS), help="load the images into a container engine"
    )
    parser.add_argument(
        "--kernel", default="", metavar="NAME", help="kernelspec to use instead of the notebook's"
    )
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    began = time.monotonic()
    settings = Settings(notebook=options.notebook, workers=1, kernel=options.kernel, store=options.store)
    blobs = Blobs(default_folder(os.environ, Path.home()))
    if options.strategy in EXPORTS:
        return export(options, settings, began)
    clients = publish.clients(os.environ, Path.home())
    maker = Maker(blobs, squeeze.kinds()[0], tell, clients)
    built = imaging.build(imaging.Wanted(settings, options.strategy, options.base), maker)
    references = {step: image.name for step, image in built.images}
    if options.archive:
        archive(blobs, built, options.archive)
    if options.load:
        into(options.load, options.archive, blobs, built)
    if options.push:
        references = dict(publish.push(built, options.push, blobs, clients, Line()))
    for note in built.notes:
        common.say(f"note: {note}")
    seconds = time.monotonic() - began
    common.result(
        json.dumps(as_json(built, references, seconds))
        if options.json
        else summary(built, references, seconds)
    )
    return EXIT_OK


def export(options: argparse.Namespace, settings: Settings, began: float) -> int:
    """Write what other builders take."""
    for option in ("archive", "push", "load"):
        if getattr(options, option):
            raise UsageError(
                "J2K628",
                f"--{option} wants images, and --strategy {options.strategy} makes what another builder takes",
                f"leave --{option} out, or take --strategy lock or closure",
            )
    made = imaging.export(imaging.Wanted(settings, options.strategy, options.base), tell)
    seconds = time.monotonic() - began
    images = [
        {
            "step": one.step,
            "reference": str(one.path),
            "digest": one.digest,
            "bytes": one.bytes,
            "unique_bytes": one.bytes,
            "entrypoint": list(one.entrypoint),
        }
        for one in made
    ]
    lines = [f"{len(made)} steps in {common.duration(seconds)}"]
    lines += [f"  {one.step}: {one.path}  {megabytes(one.bytes)}" for one in made]
    document = json.dumps({"images": images, "seconds": round(seconds, 3)})
    common.result(document if options.json else "\n".join(lines))
    return EXIT_OK


def tell(told: Told) -> None:
    """Say what is going on, with bytes."""
    total = f" of {megabytes(told.total)}" if told.total is not None else ""
    common.say(told.text if told.done is None else f"{told.text}: {megabytes(told.done)}{total}")


def megabytes(size: int) -> str:
    """Return a size in words."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def archive(blobs: Blobs, built: Built, path: Path) -> None:
    """Write the archive. Raises EnvironmentProblem (J2K618)."""
    try:
        oci.save(blobs, [image for _, image in built.images], path, lambda done: None)
        path.with_name(f"{path.name}.cdx.json").write_bytes(blobs.read(built.bill))
    except OSError as error:
        raise EnvironmentProblem(
            "J2K618", f"{path} could not be written: {error.strerror}", "make room, or choose another place"
        ) from error
    common.say(f"{path}: {megabytes(path.stat().st_size)}")


def into(engine: str, path: Path | None, blobs: Blobs, built: Built) -> None:
    """Load the images, by way of the archive that was written, or of one for the while. Raises EnvironmentProblem."""
    if path is not None:
        load.load(engine, path.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="jup2kub-") as folder:
        scratch = Path(folder) / "images.tar"
        archive(blobs, built, scratch)
        load.load(engine, scratch)


class Line:
    """Says how far a push is, each time that a tenth of it is done."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, progress: Progress) -> None:
        """Take note of the progress."""
        tenth = 10 * (progress.sent + progress.spared) // max(progress.total, 1)
        if tenth > self._told:
            self._told = tenth
            spared = f", {megabytes(progress.spared)} of it there before" if progress.spared else ""
            done = megabytes(progress.sent + progress.spared)
            common.say(f"push: {done} of {megabytes(progress.total)}{spared}")


def as_json(built: Built, references: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Return the result as other programs read it."""
    return {
        "images": [
            {
                "step": step,
                "reference": references[step],
                "digest": image.manifest.digest,
                "bytes": image.size,
                "unique_bytes": built.unique(place),
                "entrypoint": list(image.command.entrypoint),
            }
            for place, (step, image) in enumerate(built.images)
        ],
        "seconds": round(seconds, 3),
    }


def summary(built: Built, references: Mapping[str, str], seconds: float) -> str:
    """Return the result in a few lines."""
    lines = [f"{len(built.images)} images in {common.duration(seconds)}"]
    for place, (step, image) in enumerate(built.images):
        own = megabytes(built.unique(place))
        lines.append(f"  {step}: {references[step]}  {megabytes(image.size)}, {own} of it new")
    return "\n".join(lines)
