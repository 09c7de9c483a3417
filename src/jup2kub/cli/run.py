"""`jup2kub run`: one executed notebook, or with several parameter sets a folder of them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub import collect, ipynb, sweeping, sweeps
from jup2kub.agent.spawn import Spawned
from jup2kub.cli import common, where
from jup2kub.cli.progress import Progress
from jup2kub.compose import Execution, Settings, execute
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK, EnvironmentProblem, UsageError
from jup2kub.model.run import CellError


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
    for name, text in (("--redo", "may act again"), ("--skip", "is left out")):
        parser.add_argument(
            name,
            type=int,
            action="append",
            default=[],
            metavar="CELL",
            help=f"a cell with effects that an interrupted run may have left half done: it {text}",
        )
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
    check_target(target, wanted.notebook)
    began = time.monotonic()
    if options.on == "kubernetes":
        done = importlib.import_module("jup2kub.cli.onkube").execute(options, wanted, target)
    else:
        done = run_one(wanted, options.ahead)
    write(target, document(done, wanted))
    failed = has_failed(done)
    report(options, done, target, time.monotonic() - began, failed)
    return EXIT_CELL_RAISED if failed else EXIT_OK


def default_out(notebook: Path) -> Path:
    """Return `NB.executed.ipynb` beside the source."""
    return notebook.with_name(f"{notebook.stem}.executed.ipynb")


def check_target(target: Path, source: Path, make: Path | None = None) -> None:
    """Refuse, before anything runs, a result that cannot be written or would replace the source."""
    if target.resolve() == source.resolve():
        raise UsageError("J2K230", "the source notebook is never written", "choose another -o")
    if make is not None and make.resolve().parent.is_dir() and os.access(make.resolve().parent, os.W_OK):
        make.mkdir(exist_ok=True)
    folder = target.resolve().parent
    if target.is_dir():
        raise UsageError("J2K231", f"{target} is a folder", "name the file of the executed notebook with -o")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise EnvironmentProblem(
            "J2K231", f"cannot write into {folder}", "choose a folder that exists and may be written with -o"
        )


def run_one(wanted: Settings, ahead: Spawned | None) -> Execution:
    """Run one notebook and tell its story."""
    with Progress() as progress:
        return execute(wanted, progress, know=progress.know, ahead=ahead)


def has_failed(done: Execution) -> bool:
    """Return whether a cell raised that was not allowed to; a cell left out by the user's word is no failure."""
    return done.stopped is not None or any(o.status == "error" for o in published_errors(done))


def published_errors(done: Execution) -> list[Any]:
    """Return outcomes of failed cells that were not allowed to fail."""
    allowed = {c.index for c in done.notebook.code if c.may_raise}
    return [o for o in done.outcomes.values() if o.status != "ok" and o.index not in allowed]


def document(done: Execution, wanted: Settings) -> dict[str, Any]:
    """Return the executed notebook."""
    return collect.collect(
        done.notebook,
        done.outcomes,
        keep_going=wanted.keep_going,
        summary={"run": done.run, "plan": done.plan.mode, "workers": done.plan.workers},
    )


def write(target: Path, executed: dict[str, Any]) -> None:
    """Write the executed notebook whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=target.resolve().parent, prefix=".jup2kub-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(ipynb.write(executed))
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentProblem(
            "J2K232",
            f"the executed notebook could not be written to {target}: {error.strerror}",
            "nothing is lost: make room or choose another -o, and `jup2kub run` again takes it from the store",
        ) from error


def report(options: argparse.Namespace, done: Execution, target: Path, seconds: float, failed: bool) -> None:
    """Give the result on stdout and the summary on stderr."""
    steps = [o for o in done.outcomes.values() if o.where == "step" and not o.from_store]
    kept = [o for o in done.outcomes.values() if o.from_store]
    if failed:
        explain_failure(done)
    common.say(
        f"{len(done.outcomes)} cells in {common.duration(seconds)}: {len(steps)} as steps, {len(kept)} kept from the store, "
        f"{common.duration(done.validation_seconds)} of validation"
    )
    if options.json:
        common.result(
            json.dumps(
                {
                    "output": str(target),
                    "run": done.run,
                    "state": "failed" if failed else "done",
                    "seconds": round(seconds, 3),
                    "validation_seconds": round(done.validation_seconds, 3),
                    "steps": sorted(o.index for o in steps),
                    "kept": sorted(o.index for o in kept),
                }
            )
        )
    else:
        common.result(str(target))


def explain_failure(done: Execution) -> None:
    """Say which cell raised what."""
    for outcome in published_errors(done)[:1]:
        error = outcome.error
        if error is not None:
            common.say(f"error: J2K100 cell {outcome.index} raised {error.ename}: {error.evalue}")
            lines = done.notebook.cells[outcome.index].source.splitlines()
            if error.line is not None and 0 < error.line <= len(lines):
                common.say(f"  line {error.line}: {lines[error.line - 1].strip()}")
            for name, text in error.inputs.items():
                common.say(f"  {name} = {text}")
            common.say(f"hint: {way_out(error)}")


OTHER_NAMES = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
}
"""Packages whose name is not that of their module."""


def way_out(error: CellError) -> str:
    """Return what to do about an exception of a cell."""
    missing = re.match(r"No module named '([\w.]+)'", error.evalue)
    if error.ename == "ModuleNotFoundError" and missing:
        module = missing[1].partition(".")[0]
        package = OTHER_NAMES.get(module, module)
        return (
            f"the environment of the notebook's kernel lacks the package {package!r}: install it there "
            f"(in a notebook: `%pip install {package}`), or choose another kernel with --kernel NAME"
        )
    if error.ename == "MemoryError" or (error.ename == "DeadKernelError" and "memory" in error.evalue):
        return "memory ran out: free what is needed no longer (`del`), use smaller pieces or fewer --workers"
    if error.ename == "TimeoutError" and error.line is None:
        return "the executed notebook tells where it was; give it more time (`#| timeout: …`), or less to do"
    return "its traceback is in the executed notebook; fix the cell and run again: only what depends on it runs anew"


def sweep(options: argparse.Namespace, sets: list[dict[str, Any]]) -> int:
    """Run a notebook once per parameter set; OUT is a folder with a notebook for each, and their table."""
    wanted = common.settings(options)
    common.check_notebook(wanted.notebook)
    folder = options.out or wanted.notebook.with_name(f"{wanted.notebook.stem}.sweep")
    check_target(folder / "sweep.csv", wanted.notebook, make=folder)
    rows: dict[int, sweeps.SweepRow] = {}

    def finished(member: sweeping.Member) -> None:
        state = "aborted"
        if member.done is not None:
            mine = replace(wanted, parameters=member.parameters)
            write(folder / sweeps.file_name(member.number, len(sets)), document(member.done, mine))
            state = "error" if published_errors(member.done) else "ok"
        values = member.done.values if member.done else {}
        rows[member.number] = sweeps.SweepRow(member.number, member.parameters, state, member.seconds, values)
        why = f": {member.problem}" if member.problem else ""
        common.say(
            f"set {member.number} {member.parameters} {state} in {common.duration(member.seconds)}{why}"
        )

    stories = [Progress(prefix=f"set {number}: ") for number in range(len(sets))]
    try:
        if options.on == "kubernetes":
            module = importlib.import_module("jup2kub.cli.onkube")
            done = module.sweep(options, wanted, sets, lambda n, told: stories[n](told), finished)
        else:
            done = sweeping.sweep(wanted, sets, options.collect, lambda n, told: stories[n](told), finished)
    finally:
        ordered = [rows[n] for n in sorted(rows)]
        common.save(folder / "sweep.csv", sweeps.table(ordered, options.collect))
    problems = [member.problem for member in done if member.problem is not None]
    if len(problems) == len(sets):
        raise problems[0]
    failed = sum(row.state != "ok" for row in ordered)
    if options.json:
        states = [
            {"parameters": r.parameters, "state": r.state, "seconds": round(r.seconds, 3)} for r in ordered
        ]
        common.result(json.dumps({"output": str(folder), "sets": states}))
    else:
        common.result(str(folder))
    return EXIT_CELL_RAISED if failed else EXIT_OK
