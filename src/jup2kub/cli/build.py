"""`jup2kub build`: container images of a notebook, without a daemon.

Light on purpose: where nothing has changed since the last build, the program that builds is not loaded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from jup2kub import again
from jup2kub.again import Question, Shown
from jup2kub.cli import words
from jup2kub.cli.streams import result, say
from jup2kub.errors import EXIT_OK
from jup2kub.images import load, squeeze
from jup2kub.images.blobs import Blobs, default_folder
from jup2kub.kit.canon import to_json


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
    words.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    began = time.monotonic()
    blobs = Blobs(default_folder(os.environ, Path.home()))
    if options.strategy in ("lock", "closure") and not (options.archive or options.push or options.load):
        found = again.look(blobs, question(options), os.environ)
        if found is not None:
            tell_all(options, found.images, found.notes, time.monotonic() - began)
            return EXIT_OK
    return int(importlib.import_module("jup2kub.cli.building").act(options, blobs, began))


def question(options: argparse.Namespace) -> Question:
    """Return what is asked for."""
    kind = squeeze.kinds()[0]
    return Question(options.notebook, options.strategy, options.base, kind, options.kernel, options.store)


def tell_all(
    options: argparse.Namespace, images: Sequence[Shown], notes: Sequence[str], seconds: float
) -> None:
    """Print the result."""
    for note in notes:
        say(f"note: {note}")
    document = {"images": [to_json(image) for image in images], "seconds": round(seconds, 3)}
    result(json.dumps(document) if options.json else summary(images, seconds))


def summary(images: Sequence[Shown], seconds: float) -> str:
    """Return the result in a few lines."""
    lines = [f"{words.count(len(images), 'image')} in {words.duration(seconds)}"]
    for one in images:
        own = words.megabytes(one.unique_bytes)
        lines.append(f"  {one.step}: {one.reference}  {words.megabytes(one.bytes)}, {own} of it new")
    return "\n".join(lines)
