"""`jup2kub collect`: follow a run on a cluster to its end, and bring the executed notebook and its files back."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jup2kub.agent.session import Told
from jup2kub.cli import common, onkube, results, sweeptable, where
from jup2kub.cli.progress import Progress
from jup2kub.cluster import Cluster
from jup2kub.compose import open_store
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK
from jup2kub.kube import drive, runs
from jup2kub.kube.runs import Remembered
from jup2kub.sweeping import Member


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
    known = onkube.must_find_notebook(options, options.run)
    target = options.out or Path(known.out)
    return several(options, known, target) if known.sets else single(options, known, target)


@contextlib.contextmanager
def taken_up(options: argparse.Namespace, known: Remembered) -> Iterator[Cluster]:
    """Give the cluster of a run that is followed again; remove the run when its result is here."""
    by = "server"
    try:
        with onkube.cluster_of(known) as cluster:
            by = runs.spec(cluster, known.run).jobs_by
            yield cluster
            if not options.keep:
                drive.clear(cluster, known.run)
    except KeyboardInterrupt as stop:
        raise onkube.left(known.run, by) from stop
    if not options.keep:
        runs.forget(onkube.records(), known.run)


def single(options: argparse.Namespace, known: Remembered, target: Path) -> int:
    """Bring the one executed notebook."""
    results.check_target(target, Path(known.notebook))
    began, settings = time.monotonic(), drive.settings_of(known)
    with (
        taken_up(options, known) as cluster,
        contextlib.closing(open_store(settings)) as store,
        Progress() as progress,
    ):
        done = drive.resume(known, cluster, store, progress)
        results.write(target, results.document(done, settings))
    failed = results.has_failed(done)
    results.report(options, done, target, time.monotonic() - began, failed)
    return EXIT_CELL_RAISED if failed else EXIT_OK


def several(options: argparse.Namespace, known: Remembered, folder: Path) -> int:
    """Bring a sweep: a notebook for each parameter set, and their table."""
    settings = drive.settings_of(known)
    results.check_target(folder / "sweep.csv", settings.notebook, make=folder)

    def begin(tell: Callable[[int, Told], None], finished: Callable[[Member], None]) -> list[Member]:
        members = onkube.Members(known.sets, finished)
        with (
            taken_up(options, known) as cluster,
            contextlib.closing(open_store(settings)) as store,
        ):
            drive.resume_sweep(known, cluster, store, tell, members)
        return members.ordered()

    return sweeptable.act(options, settings, folder, known.sets, begin)
