"""`jup2kub cancel`: close a run, so that nothing of it can still be committed."""

from __future__ import annotations

import argparse
import json
import time

from jup2kub.cli import common, onkube, where
from jup2kub.cli.status import chosen
from jup2kub.errors import EXIT_OK
from jup2kub.kube import drive


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run, or the beginning of its id")
    where.place_options(parser)
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    far = onkube.find(options, options.run)
    if far is not None:
        with onkube.cluster_of(far) as cluster, drive.reached(far.run, cluster) as running:
            running.away.link.ask("/v1/cancel", {"reason": "cancelled by the user"})
        common.result(
            json.dumps({"run": far.run, "cancelled": True}) if options.json else f"{far.run} is cancelled"
        )
        common.say(f"`jup2kub delete {far.run}` removes it from the cluster")
        return EXIT_OK
    with common.store(options) as store:
        run = chosen(store, options.run)
        new = store.cancel(run.id, {"by": "user", "time": time.time()})
    if options.json:
        common.result(json.dumps({"run": run.id, "cancelled": True, "before": not new}))
    else:
        common.result(f"{run.id} {'is cancelled' if new else 'was cancelled before'}")
    return EXIT_OK
