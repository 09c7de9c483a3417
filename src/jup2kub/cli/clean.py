"""`jup2kub clean`: remove from the store, and from the cache of image layers, what is no longer needed."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from pathlib import Path

from jup2kub.cli import common
from jup2kub.errors import EXIT_OK, EnvironmentProblem
from jup2kub.images import trim
from jup2kub.images.blobs import Blobs, default_folder
from jup2kub.images.trim import Trimmed
from jup2kub.kit.canon import to_json

UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def size(text: str) -> int:
    """Parse a number of bytes such as `500M` or `2Gi`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if not found or found[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write for example 500M or 2Gi")
    return int(float(found[1]) * UNITS[found[2]])


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--keep",
        type=size,
        metavar="SIZE",
        help="drop the least recently used beyond this size (default: what `run` keeps the store to)",
    )
    parser.add_argument(
        "--keep-layers",
        type=size,
        metavar="SIZE",
        default=trim.CAP,
        help="drop the least recently used layers of images beyond this size (default: 20Gi)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be dropped")
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    with common.store(options) as store:
        report = store.sweep(options.keep, dry_run=options.dry_run)
    layers = trimmed(options.keep_layers, options.dry_run)
    if options.json:
        images = {**to_json(layers), "freed": layers.freed}
        common.result(json.dumps({**to_json(report), "images": images}))
        return EXIT_OK
    rows = [(d.kind, d.name, d.bytes, d.reason) for d in report.dropped]
    rows += [(d.kind, d.name, d.bytes, d.reason) for d in layers.dropped]
    for kind, name, freed, reason in rows:
        common.result(f"{kind:<9} {name[:40]:<40} {freed / 1e6:>9.1f} MB  {reason}")
    word = "would free" if options.dry_run else "freed"
    common.result(f"{word} {report.freed / 1e6:.1f} MB; {report.kept_bytes / 1e6:.1f} MB kept")
    common.result(
        f"{word} {layers.freed / 1e6:.1f} MB of image layers; {layers.kept_bytes / 1e6:.1f} MB kept"
    )
    return EXIT_OK


def trimmed(keep: int, dry_run: bool) -> Trimmed:
    """Trim the cache of layers, if there is one. Raises EnvironmentProblem (J2K618)."""
    folder = default_folder(os.environ, Path.home())
    if not folder.is_dir():
        return Trimmed(dry_run, (), 0)
    try:
        return trim.trim(Blobs(folder), keep, time.time(), dry_run=dry_run)
    except OSError as error:
        raise EnvironmentProblem(
            "J2K618", f"the cache of images cannot be trimmed: {error}", f"see who may write into {folder}"
        ) from error
