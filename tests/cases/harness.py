"""Runs a case through the command line, in this process, or by a run server and agents, and says whether it gives the
sequential answer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from tests.jobs import quick

from jup2kub.cli.main import main
from jup2kub.collect import collect
from jup2kub.compose import Settings
from jup2kub.errors import Jup2KubError

from .loader import Case, Pair, closure, write_case
from .reference import answer, files, outputs


@dataclass(frozen=True)
class Configuration:
    """How a notebook is run."""

    mode: str
    workers: int
    fork: bool
    offload: str
    agents: int = 0
    """Agents of a run server, each in a folder of its own; 0 = it runs on this machine."""

    def __str__(self) -> str:
        where = f"jobs-{self.agents}" if self.agents else "fork" if self.fork else "nofork"
        return f"{self.mode}-{self.workers}-{where}-{self.offload}"

    @property
    def words(self) -> list[str]:
        """The options of the command line."""
        words = ["--plan", self.mode, "--workers", str(self.workers), "--offload", self.offload]
        return words if self.fork else [*words, "--no-fork"]


CONFIGURATIONS = (
    *(
        Configuration(*c)
        for c in itertools.product(("static", "hybrid"), (1, 2, 4), (True, False), ("auto", "all"))
    ),
    *(
        Configuration(*c)
        for c in itertools.product(("static", "hybrid"), (3,), (False,), ("auto", "all"), (1, 2))
    ),
)


@dataclass(frozen=True)
class Result:
    """What became of a run."""

    state: str
    """`equal`, `different`, or `refused` (a non-zero exit code)."""
    text: str = ""
    """What differed, or what the program said."""


def number(case: Case) -> int:
    """Return a number that spreads cases over configurations and tiers, the same in every session."""
    return int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:4], "big")


def configurations(case: Case, full: bool) -> tuple[Configuration, ...]:
    """Return all configurations, or the one whose turn it is for this case.

    The environment variable JUP2KUB_SALT, a whole number, moves every case on by as many configurations.
    """
    turn = number(case) + int(os.environ.get("JUP2KUB_SALT", "0"))
    return CONFIGURATIONS if full else (CONFIGURATIONS[turn % len(CONFIGURATIONS)],)


def run(case: Case, how: Configuration, folder: Path) -> list[Result]:
    """Run the case in new folders; in hybrid mode a second time, with what the first run learned.

    Returns one result for each run.
    """
    expected = answer(case)
    if how.agents:
        return [_elsewhere(case, how, folder, n, expected) for n in range(2 if how.mode == "hybrid" else 1)]
    found = []
    for attempt in range(2 if how.mode == "hybrid" else 1):
        project = folder / f"project-{attempt}"
        project.mkdir()
        notebook, target = write_case(case, project), folder / f"out-{attempt}.ipynb"
        argv = ["run", str(notebook), "-o", str(target), "--store", str(folder / "store"), *how.words]
        code, _, err = call([*argv, "--fresh"] if attempt else argv, project)
        if code != 0 or not target.exists():
            found.append(Result("refused", f"exit code {code}\n{err}"))
            continue
        got = outputs(nbformat.read(target, as_version=4), project)
        found.append(_compare(case, expected, {"outputs": got, "files": files(project)}))
    return found


def _elsewhere(
    case: Case, how: Configuration, folder: Path, attempt: int, expected: dict[str, Any]
) -> Result:
    """Run the case by a server and agents."""
    project, lab = folder / f"project-{attempt}", folder / f"lab-{attempt}"
    project.mkdir()
    wanted = Settings(
        write_case(case, project),
        store=folder / "store",
        plan=how.mode,
        workers=how.workers,
        fork=False,
        offload=how.offload,
        fresh=bool(attempt),
    )
    with _inside(project):
        try:
            done = quick.run(wanted, lab, how.agents)
        except Jup2KubError as problem:
            return Result("refused", str(problem))
    text = json.dumps(collect(done.notebook, done.outcomes))
    for pod in range(how.agents):
        # In a pod the project has the path that it has here.
        text = text.replace(str(lab / f"pod-{pod}" / "project"), str(project))
    got = outputs(nbformat.reads(text, as_version=4), project)
    return _compare(case, expected, {"outputs": got, "files": files(project)})


def _compare(case: Case, expected: dict[str, Any], got: dict[str, Any]) -> Result:
    for index in range(len(case.cells)):
        wanted, shown = expected["outputs"][index], got["outputs"][index]
        if wanted != shown:
            return Result("different", f"cell {index}:\n  expected {wanted}\n  got      {shown}")
    if expected["files"] != got["files"]:
        return Result("different", f"files:\n  expected {expected['files']}\n  got      {got['files']}")
    return Result("equal")


def cell_edges(notebook: Path, store: Path, mode: str) -> frozenset[Pair]:
    """Return the transitive closure of the plan's `cell_edges`. Raises RuntimeError if there is no plan."""
    code, out, err = call(
        ["plan", str(notebook), "--json", "--plan", mode, "--store", str(store)], notebook.parent
    )
    if code != 0:
        raise RuntimeError(f"plan: exit code {code}\n{err}")
    return closure(frozenset((e["from"], e["to"]) for e in json.loads(out)["cell_edges"]))


def call(argv: list[str], folder: Path) -> tuple[int, str, str]:
    """Call the program in `folder`; return exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with _inside(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    return code, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    kept, seed = Path.cwd(), os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(kept)
        os.environ.pop("PYTHONHASHSEED") if seed is None else os.environ.update(PYTHONHASHSEED=seed)
