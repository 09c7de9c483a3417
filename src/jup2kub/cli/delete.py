"""`jup2kub delete`: remove a run from its cluster, with what it has kept."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from jup2kub.cli import common, onkube, where
from jup2kub.cli.words import count
from jup2kub.cluster.deployer import connect
from jup2kub.errors import EXIT_OK, UsageError
from jup2kub.kube import drive, runs
from jup2kub.kube.wishes import notebook_mark


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run on a cluster, or the beginning of its name; or a notebook, whose kept results are removed",
    )
    where.place_options(parser)
    parser.add_argument(
        "--keep-results",
        action="store_true",
        help="leave the claim: another run of the notebook uses what is in it",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    if Path(options.run).suffix in (".ipynb", ".py") and not options.keep_results:
        return results(options, Path(options.run))
    known = onkube.must_find(options, options.run)
    with onkube.cluster_of(known) as cluster:
        removed = drive.clear(cluster, known.run, claims=not options.keep_results)
    runs.forget(onkube.records(), known.run)
    if not removed and not known.notebook:
        raise UsageError("J2K240", f"there is nothing of run {known.run} in this namespace", "check its name")
    return tell(options, known.run, removed)


def results(options: argparse.Namespace, notebook: Path) -> int:
    """Remove what runs of a notebook have kept, after they are over and gone."""
    with contextlib.closing(connect(options.context, options.namespace)) as cluster:
        removed = drive.clear_results(cluster, notebook_mark(notebook))
        if not removed:
            raise UsageError(
                "J2K240",
                f"no results of {notebook} are kept in namespace {cluster.namespace}",
                "name the --namespace (and --context) in which it ran",
            )
    return tell(options, str(notebook), removed)


def tell(options: argparse.Namespace, name: str, removed: Sequence[str]) -> int:
    """Say what was removed."""
    if options.json:
        common.result(json.dumps({"run": name, "removed": list(removed)}))
    else:
        common.result(f"{name}: {count(len(removed), 'object')} removed")
        for one in removed:
            common.say(f"  {one}")
    return EXIT_OK
