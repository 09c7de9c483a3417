"""The image of a notebook for a cluster: built from its locked environment, and pushed where nodes pull from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jup2kub import imaging
from jup2kub.compose import Settings
from jup2kub.errors import UsageError
from jup2kub.images import publish, squeeze
from jup2kub.images.blobs import Blobs, default_folder
from jup2kub.images.layers import Maker
from jup2kub.images.push import Progress

MAIN = "main"
"""Step whose image all pods start: it holds every package that the notebook was locked with."""


@dataclass(frozen=True)
class Ready:
    """An image in a registry."""

    reference: str
    """By digest, as nodes name it."""
    python: str
    """Path of its interpreter."""


def build_and_push(
    settings: Settings,
    registry: str,
    pull: str,
    tell: Callable[[str], None],
    progress: Callable[[Progress], None],
) -> Ready:
    """Build the notebook's image and push it into `registry` (HOST/NAME); nothing is done where nothing has changed.

    `pull`: the same repository as nodes name it; empty = as it was pushed. Raises Jup2KubError.
    """
    blobs = Blobs(default_folder(os.environ, Path.home()))
    clients = publish.clients(os.environ, Path.home())
    maker = Maker(
        blobs, squeeze.kinds()[0], lambda told: tell(told.text) if told.total is None else None, clients
    )
    built = imaging.build(imaging.Wanted(replace(settings, workers=1)), maker)
    for note in built.notes:
        tell(note)
    reference = publish.push(built, registry, blobs, clients, progress)[MAIN]
    image = next(image for step, image in built.images if step == MAIN)
    return Ready(renamed(reference, registry, pull), image.command.entrypoint[0])


def renamed(reference: str, pushed: str, pull: str) -> str:
    """Return the reference as nodes name it: without a scheme. Raises UsageError for a registry that is not its beginning."""
    plain, place = reference.removeprefix("http://"), pushed.removeprefix("http://")
    if not pull:
        return plain
    if not plain.startswith(place):
        raise UsageError("J2K719", f"{plain} does not begin with {place}", "name the registry as HOST/NAME")
    return pull + plain[len(place) :]
