"""The waist of the system: the compile side writes a Plan, the run side reads it, nothing else passes between."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import FrozenSet, Mapping, Optional, Tuple

PLAN_VERSION = 1
Names = FrozenSet[str]


@dataclass(frozen=True)
class Carry:
    """A name that outlives an iteration of a `MapLoop`, and how its changes are put together in order."""

    name: str
    kind: str = "log"
    """`log`: write-only operations (`append`, `d[k] =`, `+=`); `max`/`min`: `n = max(n, e)`; `best`: `if e > n: n, … = …`."""
    group: Tuple[str, ...] = ()
    """`best` only: the names that the branch assigns, `name` among them."""
    op: str = ""
    """`best` only: the comparison, `gt`, `lt`, `ge` or `le`, operands as in the text."""
    first: bool = True
    """Whether the name is the first operand of `max`, `min` or the comparison."""
    none: bool = False
    """`best` only: the test begins with `name is None or`."""


@dataclass(frozen=True)
class MapLoop:
    """A loop whose iterations are independent, in the text of one cell."""

    cell: int
    """The cell whose text holds the loop (for a function: the cell that defines it)."""
    line: int
    """Line of the `for` in the cell's source after transformation, from 1."""
    function: str = ""
    """Qualified name of the notebook function that holds it; empty = top level of the cell."""
    asked: bool = False
    """`#| map` stands in the cell: refuse the run if the loop cannot be mapped."""
    chunks: Optional[int] = None
    limit: Optional[int] = None
    column: int = 0
    """Column of the `for` statement or of the comprehension, from 0, in UTF-8 bytes."""
    kind: str = "for"
    """`for`, or the comprehension: `list`, `set`, `dict`."""
    carried: Tuple[Carry, ...] = ()
    conditional: Tuple[str, ...] = ()
    """Private names that an iteration may leave unassigned."""
    reads: Tuple[str, ...] = ()
    """Names that the body reads and never assigns."""


@dataclass(frozen=True)
class CellPlan:
    """What the run side must know of one code cell."""

    index: int
    reads: Names = frozenset()
    defines: Names = frozenset()
    may_define: Names = frozenset()
    deletes: Names = frozenset()
    mutates: Names = frozenset()
    definitions: Names = frozenset()
    groups: Tuple[Names, ...] = ()
    effects: Names = frozenset()
    file_reads: Tuple[str, ...] = ()
    file_writes: Tuple[str, ...] = ()
    barrier: Optional[str] = None
    waits_all: Optional[str] = None
    """Why the cell runs in main only when nothing is pending (effects, guarded reads, unresolved calls); None = need not."""
    before: Tuple[int, ...] = ()
    """Cells that truly precede it (sources of its cell edges)."""
    repeatable: bool = True
    """Cheap to presume and free of clock, network, child process, unseeded generator and file write."""
    heavy: bool = False
    """Worth committing and off-loading, by profile or presumption."""
    seconds: float = 0.0
    """Predicted; 0 = trivial."""
    loops: Tuple[MapLoop, ...] = ()
    loop_seconds: Mapping[str, float] = field(default_factory=dict)
    """What executions of loops took in an earlier run of the cell, as `Facts.loops`."""
    may_raise: bool = False
    timeout: Optional[float] = None
    retries: Optional[int] = None
    cpu: Optional[float] = None
    memory: Optional[int] = None
    """Bytes that its kernel needs in all, by the user's word or as measured; None = not known."""
    growth: Optional[int] = None
    """Bytes that a copy of a kernel needs for it, which shares the rest with the original; None = as `memory`."""
    gpu: Optional[int] = None
    cache: Optional[bool] = None
    secret: bool = False
    """What it binds is secret: marked so, or its text asks for a password. Such values are never stored or told."""
    key: str = ""
    """Digest of the cell's own source and of the definitions it may call: its profile key without occurrence."""
    lifted: Names = frozenset()
    """Definitions that every kernel makes from their own statements, before or without the rest of the cell."""
    lifted_lines: Tuple[int, ...] = ()
    """First lines of these statements, in the cell's source after transformation, from 1."""
    lifted_reads: Names = frozenset()
    """What these statements read of the versions before the cell."""

    @property
    def writes(self) -> Names:
        """Every version the cell makes."""
        return self.defines | self.may_define | self.deletes | self.mutates


@dataclass(frozen=True)
class Reason:
    """Why one step or cell follows another, for `plan --explain`."""

    rule: str
    name: str
    cells: Tuple[int, ...]
    text: str


@dataclass(frozen=True)
class StepEdge:
    """Between steps; `main` is the id of the main line."""

    source: str
    target: str
    reasons: Tuple[Reason, ...]


@dataclass(frozen=True)
class Step:
    """Off-loaded work."""

    id: str
    cells: Tuple[int, ...]
    kind: str = "cells"
    """`cells`, or `map` for the iterations of a loop."""
    replays: Tuple[int, ...] = ()
    """Earlier cells that a fresh kernel re-executes first, outputs discarded, in notebook order."""
    loads: Mapping[str, int] = field(default_factory=dict)
    """Committed values it reads: name → the cell that made that version."""
    outputs: Tuple[Names, ...] = ()
    """Co-variable groups it gives back."""
    seconds: float = 0.0
    reason: str = ""
    fork_only: str = ""
    """Why only a fork of main can run it, in words; empty = a fresh kernel can too. If no fork can be had, main runs it."""


@dataclass(frozen=True)
class Decision:
    """One decision of analysis or planner, in words: `hint` is the user's way to change it, if there is one."""

    rule: str
    cells: Tuple[int, ...]
    text: str
    hint: str = ""


@dataclass(frozen=True)
class CellEdge:
    """What truly orders two cells, whatever is off-loaded."""

    source: int
    target: int
    rule: str
    name: str


@dataclass(frozen=True)
class Plan:
    """A notebook, compiled. Frozen and versioned; its JSON is `kit.canon.to_json`."""

    version: int
    mode: str
    """`hybrid`, `static` or `serial`."""
    workers: int
    source: str
    """Digest of the code cells' sources."""
    cells: Tuple[CellPlan, ...]
    """Code cells in notebook order."""
    main: Tuple[int, ...]
    """Cells that stay in the main line."""
    steps: Tuple[Step, ...]
    edges: Tuple[StepEdge, ...]
    cell_edges: Tuple[CellEdge, ...]
    decisions: Tuple[Decision, ...]
    makespan: float = 0.0
    """Predicted seconds by this plan."""
    serial: float = 0.0
    """Predicted seconds of the main line alone."""
    text_edges: Tuple[Tuple[int, int], ...] = ()
    """Pairs of cells (source, target) that the text alone orders, before anything was learned of the notebook;
    empty = nothing was, and `cell_edges` are these."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Modules that the notebook imports and no table knows, with the resource that their own state is: it is looked at."""


def with_edges(plan: Plan, other: Plan) -> Plan:
    """Return `plan` with all versions and edges that `other`, a plan of the same notebook, knows besides."""
    more = {cell.index: cell for cell in other.cells}
    cells = tuple(_with_versions(cell, more.get(cell.index, cell)) for cell in plan.cells)
    known = {(e.source, e.target, e.name) for e in plan.cell_edges}
    added = tuple(e for e in other.cell_edges if (e.source, e.target, e.name) not in known)
    text = tuple(sorted({*plan.text_edges, *other.text_edges}))
    return replace(plan, cells=cells, cell_edges=plan.cell_edges + added, text_edges=text)


def _with_versions(cell: CellPlan, other: CellPlan) -> CellPlan:
    return replace(
        cell,
        reads=cell.reads | other.reads,
        mutates=cell.mutates | (other.writes - cell.writes),
        before=tuple(sorted({*cell.before, *other.before})),
        repeatable=cell.repeatable and other.repeatable,
    )
