"""`jup2kub clean`: remove from the store what is no longer needed."""

from __future__ import annotations

import argparse
import json
import re

from jup2kub.cli import common
from jup2kub.errors import EXIT_OK
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
    parser.add_argument("--dry-run", action="store_true", help="only say what would be dropped")
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    with common.store(options) as store:
        report = store.sweep(options.keep, dry_run=options.dry_run)
    if options.json:
        common.result(json.dumps(to_json(report)))
        return EXIT_OK
    for dropped in report.dropped:
        common.result(
            f"{dropped.kind:<9} {dropped.name[:40]:<40} {dropped.bytes / 1e6:>9.1f} MB  {dropped.reason}"
        )
    word = "would free" if options.dry_run else "freed"
    common.result(f"{word} {report.freed / 1e6:.1f} MB; {report.kept_bytes / 1e6:.1f} MB kept")
    return EXIT_OK
