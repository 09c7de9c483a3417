"""What `jup2kub build` does where something has changed: builds, packs, pushes, loads."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from jup2kub import imaging
from jup2kub.again import Shown
from jup2kub.cli import build
from jup2kub.cli.streams import result, say
from jup2kub.cli.words import duration, megabytes
from jup2kub.compose import Settings
from jup2kub.errors import EXIT_OK, EnvironmentProblem, UsageError
from jup2kub.images import load, oci, publish
from jup2kub.images.blobs import Blobs
from jup2kub.images.build import Built
from jup2kub.images.layers import Maker
from jup2kub.images.push import Progress
from jup2kub.images.spec import Tell, Told
from jup2kub.kit.canon import to_json

EVERY = 2.0
"""Seconds between two lines about the same thing."""
EXPORTS = ("dockerfile", "rpz")
"""Strategies that write what other builders take."""


def act(options: argparse.Namespace, blobs: Blobs, began: float) -> int:
    """Build what is asked for. `began`: as `time.monotonic`."""
    settings = Settings(notebook=options.notebook, workers=1, kernel=options.kernel, store=options.store)
    wanted = imaging.Wanted(settings, options.strategy, options.base)
    if options.strategy in EXPORTS:
        return export(options, wanted, began)
    clients = publish.clients(os.environ, Path.home())
    asked = build.question(options)
    tell = Teller()
    maker = Maker(blobs, asked.kind, tell, clients)
    built = imaging.build_and_remember(wanted, maker, asked, os.environ)
    references = {}
    if options.archive:
        archive(blobs, built, options.archive, tell)
    if options.load:
        into(options.load, options.archive, blobs, built, tell)
    if options.push:
        references = dict(publish.push(built, options.push, blobs, clients, Line()))
    build.tell_all(options, imaging.shown(built, references), built.notes, time.monotonic() - began)
    return EXIT_OK


def export(options: argparse.Namespace, wanted: imaging.Wanted, began: float) -> int:
    """Write what other builders take."""
    for option in ("archive", "push", "load"):
        if getattr(options, option):
            raise UsageError(
                "J2K628",
                f"--{option} wants images, and --strategy {options.strategy} makes what another builder takes",
                f"leave --{option} out, or take --strategy lock or closure",
            )
    made = imaging.export(wanted, Teller())
    seconds = time.monotonic() - began
    images = [Shown(m.step, str(m.path), m.digest, m.bytes, m.bytes, m.entrypoint) for m in made]
    lines = [f"{len(made)} steps in {duration(seconds)}"]
    lines += [f"  {one.step}: {one.path}  {megabytes(one.bytes)}" for one in made]
    document = json.dumps({"images": to_json(images), "seconds": round(seconds, 3)})
    result(document if options.json else "\n".join(lines))
    return EXIT_OK


class Teller:
    """Says what is going on, with bytes: of what takes long a line every few seconds, and one at its end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        """When each thing that goes on was last spoken of, or began."""
        self._long: set[str] = set()
        """Things that were spoken of while they went on."""

    def __call__(self, told: Told) -> None:
        """Take note of a message, from any thread."""
        if told.total is None or told.done is None:
            say(told.text if told.done is None else f"{told.text}: {megabytes(told.done)}")
            return
        with self._lock:
            now, ended = self._clock(), told.done >= told.total
            due = now - self._said.setdefault(told.text, now) >= EVERY
            if due or (ended and told.text in self._long):
                say(f"{told.text}: {megabytes(told.done)} of {megabytes(told.total)}")
                self._said[told.text] = now
                self._long.add(told.text)
            if ended:
                self._said.pop(told.text)
                self._long.discard(told.text)


def archive(blobs: Blobs, built: Built, path: Path, tell: Tell) -> None:
    """Write the archive. Raises EnvironmentProblem (J2K618)."""
    try:
        images = [image for _, image in built.images]
        total = sum({b.digest: b.size for i in images for b in (i.manifest, *i.blobs)}.values())
        oci.save(blobs, images, path, lambda done: tell(Told(f"writing {path}", done, total)))
        path.with_name(f"{path.name}.cdx.json").write_bytes(blobs.read(built.bill))
    except OSError as error:
        raise unwritten(path, error) from error
    say(f"{path}: {megabytes(path.stat().st_size)}")


def into(engine: str, path: Path | None, blobs: Blobs, built: Built, tell: Tell) -> None:
    """Load the images, by way of the archive that was written, or of one for the while. Raises EnvironmentProblem."""
    plain = load.wants_plain(engine)
    if path is not None and not plain:
        load.load(engine, path.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="jup2kub-") as folder:
        scratch = Path(folder) / "images.tar"
        if plain:
            plainly(blobs, built, scratch)
        else:
            archive(blobs, built, scratch, tell)
        load.load(engine, scratch)


def plainly(blobs: Blobs, built: Built, path: Path) -> None:
    """Write an archive for old engines. Raises EnvironmentProblem (J2K618)."""
    try:
        with path.open("wb") as target:
            oci.plain_archive(blobs, [image for _, image in built.images], target)
    except OSError as error:
        raise unwritten(path, error) from error
    say(f"unpacked for an engine that reads no zstd: {megabytes(path.stat().st_size)}")


def unwritten(path: Path, error: OSError) -> EnvironmentProblem:
    """Return the error of an archive that there is no room for."""
    return EnvironmentProblem(
        "J2K618", f"{path} could not be written: {error.strerror}", "make room, or choose another place"
    )


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
            say(f"push: {done} of {megabytes(progress.total)}{spared}")
