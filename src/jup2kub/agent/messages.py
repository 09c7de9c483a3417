"""What goes to a kernel and what comes back: requests, results, and the ways it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jup2kub.agent.outputs import Output
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.facts import Facts


@dataclass(frozen=True)
class KernelDeath:
    """How a kernel ended."""

    pid: int
    reason: str
    """In words: ``killed by SIGKILL``, ``exit code 1``."""
    signal: str = ""
    """Name of the signal; empty = none, or unknown."""
    code: int | None = None
    """Exit code; None = killed, or unknown."""
    cell: int | None = None
    """The cell that was running; None = none."""
    wanted: bool = False
    """The agent ended it, or the notebook called ``exit()``."""
    memory: bool = False
    """Memory ran out, and the system killed it."""


class KernelDied(EnvironmentProblem):
    """The kernel is gone; `death` says how, `outputs` is what the running cell had written."""

    def __init__(self, death: KernelDeath, outputs: tuple[Output, ...] = ()) -> None:
        where = "" if death.cell is None else f" while it ran cell {death.cell}"
        super().__init__("J2K403", f"the kernel died{where}: {death.reason}", "see the outputs of that cell")
        self.death = death
        self.outputs = outputs


class ForkRefused(Exception):
    """The kernel cannot be forked safely; `reason` in words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestFailed(EnvironmentProblem):
    """The kernel child could not do what it was asked (not: a cell raised)."""

    def __init__(self, request: str, error: str, trace: str = "", errno: int | None = None) -> None:
        super().__init__("J2K404", f"the kernel could not do {request!r}: {error}", "please report it")
        self.trace = trace
        self.errno = errno
        """Of the system, if it was the system that refused."""


@dataclass(frozen=True)
class RunCell:
    """One execution of a cell."""

    cell: int
    """Index among all cells of the notebook."""
    count: int
    """Execution count it gets, from 1."""
    source: str
    silent: bool = False
    """A replay: outputs are discarded, facts not gathered."""
    watch: tuple[str, ...] = ()
    """Names whose values are fingerprinted before and after."""
    budget: float = 0.0
    """Seconds the fingerprints may take."""
    undo: str | None = None
    """Folder for pre-images of files that the cell changes; None = keep none."""
    project: str | None = None
    """Project folder; paths inside are reported relative to it. None = the kernel's first folder."""
    maps: tuple[Mapping[str, Any], ...] = ()
    """Loops that may run as map steps: fields of `model.plan.MapLoop`."""
    workers: int = 1
    """Most processes at once for the iterations of one; how many there may be is asked when it begins."""
    map_settings: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the child's `maps.MapSettings` (``chunk_folder``, ``chunk_key``, ``only``, …)."""
    inputs: Mapping[int, str] = field(default_factory=dict)
    """Sources of cells that ran elsewhere, by execution count, for ``In``."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Modules whose own state is compared before and after, with the resource that it is."""
    secret: bool = False
    """What the cell binds is secret."""
    apart: tuple[int, ...] = ()
    """First lines of statements that run before the rest of the cell and are left out of it: definitions."""


@dataclass(frozen=True)
class CellResult:
    """What one execution gave."""

    cell: int
    status: str
    """``ok`` or ``error``."""
    outputs: tuple[Output, ...]
    updates: tuple[Mapping[str, Any], ...]
    """``{display_id, data, metadata}`` for displays of earlier cells, in order."""
    error: Mapping[str, Any] | None
    """``{ename, evalue, traceback}`` of a cell that raised."""
    facts: Facts
    seconds: float
    """Wall time in the kernel."""
    seeded: frozenset[str] = frozenset()
    """Generators (``@rng:…``) that the notebook has seeded so far."""
    leaving: bool = False
    """The cell called ``exit()``: the kernel ends after it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the child replied (map steps)."""
