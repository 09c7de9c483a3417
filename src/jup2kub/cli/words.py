"""Words and options that cost nothing to load: what `common` has for verbs that need not start the compiler."""

from __future__ import annotations

import argparse
from pathlib import Path


def store_option(parser: argparse.ArgumentParser) -> None:
    """Add `--store` and `--json`."""
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="where results are kept (default: $JUP2KUB_STORE, else jup2kub in the user's cache folder)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def count(number: int, noun: str) -> str:
    """Return how many there are: `1 step`, `2 steps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return seconds as people read them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def megabytes(size: int) -> str:
    """Return a size in words."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
