"""What came out of a cell: the run side makes it, collect and certify read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

STATUSES = ("ok", "error", "skipped", "blocked", "aborted")


@dataclass(frozen=True)
class CellError:
    """The exception that ended a cell, as the kernel told it."""

    ename: str
    evalue: str
    traceback: Tuple[str, ...] = ()
    """Lines as IPython formats them, colours included."""
    line: Optional[int] = None
    """Line of the cell's text, from 1; None = not known."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What the names that it uses held when it failed, in short."""


@dataclass(frozen=True)
class CellOutcome:
    """The outcome of one code cell, from a run or from the store."""

    index: int
    """Place among all cells of the notebook, from 0."""
    status: str = "ok"
    """`ok`; `error` = it raised; `skipped` = the user's word; `blocked` = it needs a cell that failed;
    `aborted` = it did not finish (time-out, death of its kernel, interrupt)."""
    outputs: Tuple[Mapping[str, Any], ...] = ()
    """nbformat outputs; a display with an id carries `transient: {display_id}`."""
    updates: Tuple[Mapping[str, Any], ...] = ()
    """`{display_id, data, metadata}` in the order they came, for displays that earlier cells may hold."""
    count: Optional[int] = None
    """Execution count the kernel was given; None = not executed."""
    where: str = "main"
    """`main` or `step`."""
    step: Optional[str] = None
    """Id of the step; None = main line."""
    worker: Optional[str] = None
    """Name of the worker; None = not known."""
    attempt: int = 1
    start: Optional[float] = None
    """Seconds since 1970-01-01 UTC; None = it never started."""
    seconds: float = 0.0
    """Wall-clock time of the execution that made the outputs."""
    peak_bytes: Optional[int] = None
    """Highest resident memory of its kernel while it ran; None = not measured."""
    from_store: bool = False
    """The result was kept from an earlier run; `start`, `seconds` and `worker` are those of that run."""
    error: Optional[CellError] = None
    loops: Tuple[Mapping[str, Any], ...] = ()
    """Loops whose iterations were spread or asked to be: `line`, `function`, `iterations`, `spread`, `why` not all."""
    digests: Mapping[str, Optional[str]] = field(default_factory=dict)
    """Digest of each variable after the cell, for `verify`; None = the value has no digest;
    empty = it left no variables, or none were asked for."""
    files: Mapping[str, Optional[str]] = field(default_factory=dict)
    """Digest of each file that the cell wrote, by path relative to the project; None = removed."""
