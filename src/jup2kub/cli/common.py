"""Options and words that several verbs share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub import ipynb, sweeps
from jup2kub.cli.streams import result as result
from jup2kub.cli.streams import say as say
from jup2kub.cli.words import count as count
from jup2kub.cli.words import duration as duration
from jup2kub.cli.words import store_option as store_option
from jup2kub.compose import CAP, Settings, default_store, read_notebook
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.store.files import FileStore


def workers(text: str) -> int:
    """Parse a number of workers."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1 worker is wanted")
    return number


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def notebook_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every verb that compiles a notebook."""
    parser.add_argument(
        "notebook", type=Path, metavar="NB", help="a notebook (.ipynb) or percent script (.py)"
    )
    parser.add_argument(
        "--workers",
        type=workers,
        default=cores(),
        metavar="N",
        help="kernels that compute at once (default: cores)",
    )
    parser.add_argument(
        "--plan",
        choices=("hybrid", "static", "serial"),
        default="hybrid",
        help="hybrid: the text, and what earlier runs have shown; static: the text alone; serial: nothing leaves "
        "the main line (default: hybrid)",
    )
    parser.add_argument(
        "--offload",
        choices=("auto", "all", "none"),
        default="auto",
        help="which cells may leave the main line (all: every lawful one, for tests; default: auto)",
    )
    parser.add_argument("--no-fork", action="store_true", help="steps run in fresh kernels, never in forks")
    parser.add_argument(
        "--kernel", default="", metavar="NAME", help="kernelspec to use instead of the notebook's"
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a table of your own that tells what library calls do (may be repeated)",
    )
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="name=value[,value…]",
        help="a parameter, as papermill's; several values make a sweep of `run` (may be repeated)",
    )
    store_option(parser)


def half_done_options(parser: argparse.ArgumentParser) -> None:
    """Add `--redo` and `--skip`: the user's word on cells that an earlier attempt may have left half done."""
    for name, text in (("--redo", "may act again"), ("--skip", "is left out")):
        parser.add_argument(
            name,
            type=int,
            action="append",
            default=[],
            metavar="CELL",
            help=f"a cell with effects that an interrupted run may have left half done: it {text}",
        )


def store(options: argparse.Namespace) -> FileStore:
    """Open the store that `--store` names, for use in a `with` statement. Raises StoreProblem."""
    return FileStore(options.store or default_store(), cap_bytes=CAP)


def parameter_sets(texts: Sequence[str], sweep: Path | None = None) -> list[dict[str, Any]]:
    """Return every parameter set that `-p` and `--sweep` ask for; one empty set for none."""
    values = sweeps.parse_params(texts, ipynb.resolve)
    if sweep is None:
        return sweeps.grid(values)
    try:
        data = sweep.read_bytes()
    except OSError as error:
        raise UsageError(
            "J2K221", f"cannot read {sweep}: {error.strerror}", "check the path of the sweep"
        ) from error
    return sweeps.combine(sweeps.read_sweep(data, sweep.name, ipynb.resolve), values)


def one_set(options: argparse.Namespace, verb: str) -> dict[str, Any]:
    """Return the parameters that `-p` gives to a verb that looks at a single run. Raises UsageError for several values."""
    found = parameter_sets(options.parameters)
    if len(found) > 1:
        names = sorted({name for one in found for name in one if any(one[name] != o[name] for o in found)})
        raise UsageError(
            "J2K223",
            f"`{verb}` looks at one run, but {', '.join(names)} has several values: {len(found)} parameter sets",
            f"name one value for each; `jup2kub run` with the same `-p` runs all {len(found)} sets",
        )
    return found[0]


def say_of_parameters(wanted: Settings, sets: Sequence[Mapping[str, Any]]) -> None:
    """Say, before anything runs, what is odd about the parameters: a name that the notebook does not set may be a slip.

    Raises UsageError if the notebook cannot be read.
    """
    values = {name: value for one in sets for name, value in one.items()}
    if values:
        for text in ipynb.notes(read_notebook(replace(wanted, parameters={})), values):
            say(f"note: {text}")


def settings(options: argparse.Namespace, parameters: dict[str, Any] | None = None) -> Settings:
    """Return the settings that the options name."""
    return Settings(
        notebook=options.notebook,
        workers=options.workers,
        plan=options.plan,
        store=options.store,
        fresh=getattr(options, "fresh", False),
        keep_going=getattr(options, "keep_going", False),
        fork=not options.no_fork,
        offload=options.offload,
        kernel=options.kernel,
        parameters=parameters or {},
        redo=frozenset(getattr(options, "redo", ())),
        skip=frozenset(getattr(options, "skip", ())),
        annotations=tuple(options.annotations),
    )


def check_notebook(path: Path) -> None:
    """Refuse a folder, before names beside the notebook are made of its name. Raises UsageError."""
    if path.is_dir():
        raise UsageError(
            "J2K201", f"{path} is a folder", "name a notebook (.ipynb) or a percent script (.py)"
        )


def save(path: Path, text: str) -> None:
    """Write a file that the user asked for. Raises EnvironmentProblem."""
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    """Return the error of a file or folder that cannot be written."""
    return EnvironmentProblem(
        "J2K231",
        f"cannot write {path}: {error.strerror}",
        "name one in a folder that exists and may be written",
    )
