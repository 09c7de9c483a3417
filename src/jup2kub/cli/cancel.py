"""`jup2kub cancel`: close a run, so that nothing of it can still be committed."""

from __future__ import annotations

import argparse
import json
import time

from jup2kub.cli import common
from jup2kub.cli.status import chosen
from jup2kub.errors import EXIT_OK


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run, or the beginning of its id")
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    with common.store(options) as store:
        run = chosen(store, options.run)
        new = store.cancel(run.id, {"by": "user", "time": time.time()})
    if options.json:
        common.result(json.dumps({"run": run.id, "cancelled": True, "before": not new}))
    else:
        common.result(f"{run.id} {'is cancelled' if new else 'was cancelled before'}")
    return EXIT_OK
