"""What the analysis knows of each cell, and which cells are truly ordered.

Names are notebook globals (`df`) or resources, which start with `@`: `@rng:random`, `@rng:numpy`, `@rng:torch`,
`@env`, `@cwd`, `@sys.path`, `@warnings`, `@rc:matplotlib`, `@options:pandas`, `@out`, `@file:<path>`,
`@file:*` (unknown path), `@lib:<package>`, `@mod:<local module>`. The list is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import FrozenSet, Mapping, Optional, Tuple

Names = FrozenSet[str]
NONE: Names = frozenset()
PLACED = ("@file:", "@display:")
"""What resources begin with that no kernel holds: files, and outputs, which are put together in notebook order."""


@dataclass(frozen=True)
class CellFlow:
    """What one code cell reads, makes and does. Names as in the module's docstring."""

    index: int
    reads: Names = NONE
    """Upward-exposed reads, late-bound ones and resources included; a may-definition is also a read."""
    defines: Names = NONE
    """Bound on every path."""
    may_define: Names = NONE
    """Bound on some path only; each is also in `reads`."""
    deletes: Names = NONE
    """Gone at the end on every path; a version `absent`."""
    mutates: Names = NONE
    """Names and resources whose object may be changed in place; each is also in `reads`."""
    certain: Names = NONE
    """Those of `mutates` that are stated by the text (stores, `+=`, annotated calls): no trace removes them."""
    definitions: Names = NONE
    """Names bound by `def`, `class`, `import`, a lambda, `namedtuple(…)` and the like: they travel as source."""
    groups: Tuple[Names, ...] = ()
    """Co-variables among what the cell writes: names that may share a mutable object and must travel together."""
    effects: Names = NONE
    """Of `network`, `process`, `device`, `outside`, `input`, `clock`, `unseeded`, `threads`, `shell`, `benchmark`."""
    file_reads: Tuple[str, ...] = ()
    file_writes: Tuple[str, ...] = ()
    """Paths as written in the text; `*` = a path that the text does not tell."""
    barrier: Optional[str] = None
    """Why the cell is ordered after all before and before all after, in a scientist's words; None = it is not."""
    guarded: Names = NONE
    """Reads inside a `try` that would swallow a NameError, or of names that shadow a builtin."""
    opaque: Tuple[str, ...] = ()
    """Calls that cannot be resolved, as text; while names are pending such a cell waits."""
    unparsed: bool = False
    """The cell is not Python after IPython's transformation."""
    loops: bool = False
    """It loops, or calls notebook functions that loop, or fits a model: presumed heavy."""
    weight: float = 0.0
    """Presumed seconds of work from the text, for ranking only; 0 = trivial."""
    lifted: Names = NONE
    """Those of `definitions` that their own statements make, free of effects: these may run before the rest of the cell."""
    lifted_lines: Tuple[int, ...] = ()
    """First lines of these statements and of the imports that they need, in the text after transformation, from 1."""
    lifted_reads: Names = NONE
    """Names of earlier cells that these statements read when they run; each is also in `reads`."""

    @property
    def writes(self) -> Names:
        """Every version the cell makes."""
        return self.defines | self.may_define | self.deletes | self.mutates


@dataclass(frozen=True)
class Edge:
    """`target` cannot run before `source` has. `rule` is a code of the rules page (`J2K1xx`)."""

    source: int
    target: int
    rule: str
    name: str


@dataclass(frozen=True)
class FlowGraph:
    """The cells of a notebook and the edges that truly order them (read after write; files also write after)."""

    cells: Mapping[int, CellFlow]
    """By index among all cells of the notebook; code cells only, in order."""
    edges: Tuple[Edge, ...]

    def before(self) -> Mapping[int, FrozenSet[int]]:
        """Return for every cell the cells it directly waits for."""
        found = {i: set() for i in self.cells}  # type: dict[int, set[int]]
        for edge in self.edges:
            found[edge.target].add(edge.source)
        return {i: frozenset(s) for i, s in found.items()}
