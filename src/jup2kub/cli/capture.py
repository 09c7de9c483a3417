"""`jup2kub capture`: one execution under observation; what each cell has used."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jup2kub import capturing
from jup2kub.capturing import Captured
from jup2kub.cli import common
from jup2kub.compose import Settings
from jup2kub.errors import EXIT_OK, CellFailed


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("notebook", type=Path, metavar="NB", help="the notebook")
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", help="where to write (default: NB.capture beside NB)"
    )
    parser.add_argument("--rpz", action="store_true", help="make a ReproZip pack of each part")
    parser.add_argument(
        "--split",
        default="",
        metavar="SELECTOR",
        help="cut the notebook before each cell that this selects: `h2`, `tag NAME`, `match REGEX`, or in nbmanips' "
        "words",
    )
    parser.add_argument(
        "--kernel", default="", metavar="NAME", help="kernelspec to use instead of the notebook's"
    )
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    settings = Settings(notebook=options.notebook, workers=1, kernel=options.kernel, store=options.store)
    found = capturing.capture(
        settings, options.output, rpz=options.rpz, selector=options.split, tell=common.say
    )
    tell(found)
    if options.json:
        common.result(json.dumps(dict(found.report), ensure_ascii=False))
    else:
        common.result("\n".join(map(str, found.files)))
    traced = found.traced
    if traced.failed is not None and traced.error is not None:
        raise CellFailed(
            "J2K100",
            f"cell {traced.failed} raised {traced.error.ename}: what later cells use is not in the capture",
            "fix the cell and capture again",
        )
    return EXIT_OK


def tell(found: Captured) -> None:
    """Say what was seen, and what was not."""
    seen = found.traced.seen
    for file in seen.data:
        cells = [f"read by {list(file.read_by)}"] * bool(file.read_by)
        cells += [f"written by {list(file.written_by)}"] * bool(file.written_by)
        common.say(f"data: {file.path}: {', '.join(cells)}")
    for host in seen.hosts:
        common.say(f"host: {host}")
    for text in seen.withheld:
        secret = "credentials" in text or " holds " in text
        common.say(
            f"left out: {text}" + ("; give it to the notebook as a Kubernetes Secret" if secret else "")
        )
    for text in seen.unseen:
        common.say(f"not seen: {text}")
