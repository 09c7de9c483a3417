"""`jup2kub lock`: what exactly runs a notebook, with hashes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jup2kub import locking
from jup2kub.agent.launch import located
from jup2kub.capture import pylock
from jup2kub.capture.wheels import Vendor, default_cache
from jup2kub.cli import common
from jup2kub.compose import Settings
from jup2kub.errors import EXIT_OK
from jup2kub.model.env import Lock


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("notebook", type=Path, metavar="NB", help="the notebook")
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="pylock.toml",
        help="the lock (default: pylock.toml beside NB)",
    )
    parser.add_argument(
        "--kernel", default="", metavar="NAME", help="kernelspec to use instead of the notebook's"
    )
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    settings = Settings(notebook=options.notebook, workers=1, kernel=options.kernel, store=options.store)
    vendor = Vendor(default_cache())
    found = locking.lock(settings, vendor)
    output: Path = options.output or located(options.notebook).with_name("pylock.toml")
    common.save(output, pylock.text(found, output.resolve().parent, vendor.path))
    tell(found)
    if not pylock.FILE_NAME.match(output.name):
        common.say(f"note: pip and uv look for `pylock.toml` or `pylock.NAME.toml`, not for {output.name}")
    common.result(json.dumps(pylock.as_json(found)) if options.json else str(output))
    return EXIT_OK


def tell(lock: Lock) -> None:
    """Say what is in the lock, and what the user should know."""
    size = sum(w.bytes for w in lock.wheels) / 1e6
    common.say(f"Python {lock.python.version}; {len(lock.wheels)} wheels, {size:.0f} MB")
    for c in lock.carried:
        common.say(f"carried: {c.name} {c.version} ({c.kind}): {c.reason}")
    for m in lock.modules:
        common.say(f"module: {m.path}")
    for note in (*lock.notes, *(f"not seen: {text}" for text in lock.unseen)):
        common.say(f"note: {note}")
