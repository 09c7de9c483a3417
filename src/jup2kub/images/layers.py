"""Layers by their recipe: what was once made from the same things is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import layer
from jup2kub.images.blobs import Blobs
from jup2kub.images.layer import Layer
from jup2kub.images.reference import Reference
from jup2kub.images.registry import Registry
from jup2kub.images.spec import Tell, Told
from jup2kub.images.tree import Entry, Ground, settle
from jup2kub.kit.canon import digest

VERSION = 2
"""Of the way entries become bytes; a higher one makes every layer anew."""


@dataclass(frozen=True)
class Maker:
    """Makes layers, in one compression."""

    blobs: Blobs
    kind: str
    """`zstd` or `gzip`."""
    tell: Tell
    registry: Callable[[Reference], Registry]
    """Finds the client for an image's registry."""

    def make(
        self, recipe: object, title: str, ground: Ground, entries: Callable[[], Iterable[Entry]]
    ) -> Layer:
        """Return the layer of a recipe (JSON values that tell everything its entries depend on).

        `entries` is called only if the cache has no such layer above a ground that places its folders as this one.
        Raises EnvironmentProblem (J2K618).
        """
        key = digest(["layer", VERSION, self.kind, recipe, _surroundings(ground)])
        known = self.blobs.record(key)
        if known is not None:
            found = layer.from_record(known)
            if self.blobs.has(found.blob):
                return found
        try:
            made = layer.write(
                self.blobs,
                settle(entries(), ground),
                self.kind,
                title,
                lambda done, total: self.tell(Told(f"writing {title}", done, total)),
            )
        except OSError as error:
            raise EnvironmentProblem(
                "J2K618",
                f"the layer of {title} could not be written: {error}",
                f"see whether there is room in {self.blobs.root}, and build again",
            ) from error
        self.blobs.remember(key, made.to_record())
        self.tell(Told(f"layer {title}", made.blob.size))
        return made


def _surroundings(ground: Ground) -> object:
    """Return what of the ground may show in a layer: links, and folders of unusual modes."""
    return [dict(ground.links), {p: m for p, m in ground.folders.items() if m != 0o755}]
