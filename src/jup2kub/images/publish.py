"""From a name to a client: credentials, certificates and waiting as this machine has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jup2kub.images import credentials, registry
from jup2kub.images.blobs import Blobs
from jup2kub.images.build import Built
from jup2kub.images.push import Progress, Push
from jup2kub.images.reference import Reference, parse
from jup2kub.images.registry import Registry


def clients(environ: Mapping[str, str], home: Path) -> Callable[[Reference], Registry]:
    """Return what finds the client for an image's registry, for the user of this environment."""

    def client(reference: Reference) -> Registry:
        who = credentials.find(reference.host, reference.path, environ, home)
        return Registry(reference.server, who, registry.certificates(reference.host), time.sleep)

    return client


def push(
    built: Built,
    target: str,
    blobs: Blobs,
    client: Callable[[Reference], Registry],
    tell: Callable[[Progress], None],
) -> Mapping[str, str]:
    """Push the images of a notebook into the repository `target`; return each step's reference by digest.

    Each has a tag of its own content, so that a later push takes no image away from pods that still start from it.
    Raises UsageError (J2K620), EnvironmentProblem (J2K621–J2K623).
    """
    where = parse(target)
    tags = {step: image.name.rpartition(":")[2] for step, image in built.images}
    pushed = Push(blobs, client(where), where, tell).images([(tags[s], image) for s, image in built.images])
    return {step: pushed[tag] for step, tag in tags.items()}
