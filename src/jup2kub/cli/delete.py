"""`jup2kub delete`: remove a run from its cluster, with what it has kept."""

from __future__ import annotations

import argparse
import json

from jup2kub.cli import common, onkube, where
from jup2kub.errors import EXIT_OK, UsageError
from jup2kub.kube import drive, runs


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run on a cluster, or the beginning of its name")
    where.place_options(parser)
    parser.add_argument(
        "--keep-results",
        action="store_true",
        help="leave the claim: another run of the notebook uses what is in it",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    known = onkube.must_find(options, options.run)
    with onkube.cluster_of(known) as cluster:
        removed = drive.clear(cluster, known.run, claims=not options.keep_results)
    runs.forget(onkube.records(), known.run)
    if not removed and not known.notebook:
        raise UsageError("J2K240", f"there is nothing of run {known.run} in this namespace", "check its name")
    if options.json:
        common.result(json.dumps({"run": known.run, "removed": list(removed)}))
    else:
        common.result(f"{known.run}: {len(removed)} objects removed")
        for name in removed:
            common.say(f"  {name}")
    return EXIT_OK
