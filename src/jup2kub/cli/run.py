"""`jup2kub run`: one executed notebook, or with several parameter sets a folder of them."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub import sweeping
from jup2kub.agent.session import Told
from jup2kub.agent.spawn import Spawned
from jup2kub.cli import common, results, sweeptable, where
from jup2kub.cli.progress import Progress
from jup2kub.compose import Execution, Settings, execute
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    common.notebook_options(parser)
    parser.add_argument(
        "-o", dest="out", type=Path, metavar="OUT", help="the executed notebook (default: NB.executed.ipynb)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="ignore stored results; what was learned of the cells is kept"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="after a cell has failed, run what does not depend on it"
    )
    parser.add_argument(
        "--sweep",
        type=Path,
        metavar="FILE",
        help="parameter sets (.jsonl, .csv): OUT is a folder of notebooks",
    )
    common.half_done_options(parser)
    parser.add_argument(
        "--collect",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable for sweep.csv (may be repeated)",
    )
    where.options(parser)


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    where.check_local(options)
    sets = common.parameter_sets(options.parameters, options.sweep)
    if options.sweep is not None or len(sets) > 1:
        return sweep(options, sets)
    wanted = common.settings(options, sets[0])
    common.check_notebook(wanted.notebook)
    target = options.out or default_out(wanted.notebook)
    results.check_target(target, wanted.notebook)
    common.say_of_parameters(wanted, sets)
    began = time.monotonic()
    if options.on == "kubernetes":
        done = importlib.import_module("jup2kub.cli.onkube").execute(options, wanted, target)
    else:
        done = run_one(wanted, options.ahead)
    results.write(target, results.document(done, wanted))
    failed = results.has_failed(done)
    results.report(options, done, target, time.monotonic() - began, failed)
    return EXIT_CELL_RAISED if failed else EXIT_OK


def default_out(notebook: Path) -> Path:
    """Return `NB.executed.ipynb` beside the source."""
    return notebook.with_name(f"{notebook.stem}.executed.ipynb")


def run_one(wanted: Settings, ahead: Spawned | None) -> Execution:
    """Run one notebook and tell its story."""
    with Progress() as progress:
        return execute(wanted, progress, know=progress.know, ahead=ahead)


def sweep(options: argparse.Namespace, sets: list[dict[str, Any]]) -> int:
    """Run a notebook once per parameter set; OUT is a folder with a notebook for each, and their table."""
    wanted = replace(common.settings(options), collect=tuple(options.collect))
    common.check_notebook(wanted.notebook)
    folder = options.out or wanted.notebook.with_name(f"{wanted.notebook.stem}.sweep")
    results.check_target(folder / "sweep.csv", wanted.notebook, make=folder)
    common.say_of_parameters(wanted, sets)

    def begin(
        tell: Callable[[int, Told], None], finished: Callable[[sweeping.Member], None]
    ) -> list[sweeping.Member]:
        if options.on == "kubernetes":
            module = importlib.import_module("jup2kub.cli.onkube")
            done: list[sweeping.Member] = module.sweep(options, wanted, sets, folder, tell, finished)
            return done
        return sweeping.sweep(wanted, sets, options.collect, tell, finished)

    return sweeptable.act(options, wanted, folder, sets, begin)
