"""`jup2kub resume`: start a run on a cluster again that has ended early; what was finished is not repeated."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from jup2kub.cli import common, onkube, results, sweeptable, where
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK
from jup2kub.kube import drive, runs


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("run", metavar="RUN", help="a run on a cluster, or the beginning of its name")
    common.half_done_options(parser)
    where.place_options(parser)
    common.store_option(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    known = onkube.must_find_notebook(options, options.run)
    settings = replace(
        drive.settings_of(known),
        redo=frozenset(options.redo),
        skip=frozenset(options.skip),
        store=options.store,
    )
    target, began = Path(known.out), time.monotonic()
    results.check_target(target / "sweep.csv" if known.sets else target, settings.notebook)
    with onkube.cluster_of(known) as cluster:
        drive.clear(cluster, known.run)
    runs.forget(onkube.records(), known.run)
    if known.sets:
        return sweeptable.act(
            options,
            settings,
            target,
            known.sets,
            lambda tell, finished: onkube.carry_out_sets(
                known.wishes, settings, known.sets, target, tell, finished
            ),
        )
    done = onkube.carry_out(known.wishes, settings, target)
    results.write(target, results.document(done, settings))
    failed = results.has_failed(done)
    results.report(options, done, target, time.monotonic() - began, failed)
    return EXIT_CELL_RAISED if failed else EXIT_OK
