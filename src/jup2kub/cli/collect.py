"""`jup2kub collect`: follow a run on a cluster to its end, and bring the executed notebook and its files back."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

from jup2kub.cli import common, onkube, run, where
from jup2kub.cli.progress import Progress
from jup2kub.compose import open_store
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK, UsageError
from jup2kub.kube import drive, runs


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run on a cluster, or the beginning of its name")
    parser.add_argument(
        "-o", dest="out", type=Path, metavar="OUT", help="the executed notebook (default: as `run` was told)"
    )
    where.place_options(parser)
    parser.add_argument("--keep", action="store_true", help="leave the run's server in the cluster")
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    known = onkube.must_find(options, options.run)
    if not known.notebook:
        raise UsageError(
            "J2K240",
            f"this machine does not know the notebook of run {known.run}",
            "collect it where it was started",
        )
    target = options.out or Path(known.out)
    run.check_target(target, Path(known.notebook))
    began, settings, by = time.monotonic(), drive.settings_of(known), "server"
    try:
        with (
            onkube.cluster_of(known) as cluster,
            contextlib.closing(open_store(settings)) as store,
            Progress() as progress,
        ):
            by = runs.spec(cluster, known.run).jobs_by
            done = drive.resume(known, cluster, store, progress)
            run.write(target, run.document(done, settings))
            if not options.keep:
                drive.clear(cluster, known.run)
    except KeyboardInterrupt as stop:
        raise onkube.left(known.run, by) from stop
    if not options.keep:
        runs.forget(onkube.records(), known.run)
    failed = run.has_failed(done)
    run.report(options, done, target, time.monotonic() - began, failed)
    return EXIT_CELL_RAISED if failed else EXIT_OK
