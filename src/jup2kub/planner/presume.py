"""What is known or presumed of each cell before it runs: seconds, sizes, heavy, repeatable."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from jup2kub.model.facts import Facts, Profile
from jup2kub.model.flow import CellFlow, FlowGraph
from jup2kub.model.notebook import Cell, Notebook

from .cost import Costs

LAST_WORDS = re.compile(r"\bdef __del__\b|\bfinalize\s*\(")
UNREPEATABLE = frozenset(
    ["network", "process", "device", "outside", "input", "clock", "unseeded", "threads", "shell", "benchmark"]
)


@dataclass(frozen=True)
class Estimate:
    """What one execution of a cell is expected to be."""

    seconds: float = 0.0
    """0 = trivial."""
    measured: bool = False
    """Whether a profile knows the cell; else `seconds` is presumed from the text."""
    heavy: bool = False
    repeatable: bool = True
    in_bytes: int = 0
    """Bytes of what it reads, as far as known."""
    out_bytes: int = 0
    """Bytes of what it makes, as far as known."""
    changes_bytes: int = 0
    """Size of the largest object that it may change in place, as far as known."""
    peak_bytes: int = 0
    """Most memory that its kernel had while it ran; 0 = not known."""


@dataclass(frozen=True)
class Sheet:
    """All the planner looks at, by index of the code cell; `order` is notebook order."""

    order: tuple[int, ...]
    cells: Mapping[int, Cell]
    flows: Mapping[int, CellFlow]
    facts: Mapping[int, Facts]
    estimates: Mapping[int, Estimate]
    before: Mapping[int, frozenset[int]]
    """Sources of the cell edges of each cell."""
    functions: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """The names that cells bind to functions, classes and the like, imports do not count; cells in `split` are left out."""
    dying: int | None = None
    """The first cell from which on objects may do something when they die (`__del__`, `weakref.finalize`); None = none."""
    split: frozenset[int] = frozenset()
    """Cells whose definitions, all of them, are made before the rest runs; the cell was not seen to change them."""


def sheet(
    notebook: Notebook, graph: FlowGraph, profile: Profile | None, keys: Mapping[int, str], costs: Costs
) -> Sheet:
    """Return what is known of every code cell; `profile` None = plan from the text alone."""
    cells = {c.index: c for c in notebook.code}
    order = tuple(cells)
    flows = {i: graph.cells.get(i) or _unknown(i) for i in order}
    known = profile or {}
    facts = {i: known[keys[i]] for i in order if i in keys and keys[i] in known}
    before: dict[int, set[int]] = {i: set() for i in order}
    for edge in graph.edges:
        if edge.target in before and edge.source in before:
            before[edge.target].add(edge.source)
    estimates: dict[int, Estimate] = {}
    sizes: dict[str, int] = {}
    for i in order:
        estimates[i] = _estimate(flows[i], facts.get(i), sizes, costs)
        _remember(sizes, flows[i], facts.get(i))
    functions = {i: _functions(cells[i], flows[i]) for i in order if flows[i].definitions}
    split = frozenset(i for i, names in functions.items() if _splits(flows[i], names, facts.get(i)))
    kept = {i: names for i, names in functions.items() if i not in split}
    edges = {i: frozenset(s) for i, s in before.items()}
    dying = next((i for i in order if LAST_WORDS.search(cells[i].source)), None)
    return Sheet(order, cells, flows, facts, estimates, edges, kept, dying, split)


def _splits(flow: CellFlow, functions: frozenset[str], facts: Facts | None) -> bool:
    """Whether all definitions of a cell, which does more than defining, can be made before the rest of it."""
    changed = facts.mutated if facts else frozenset()
    more = flow.loops or not {n for n in flow.writes if n[0] != "@"} <= flow.definitions
    return bool(functions) and more and functions <= flow.lifted and not functions & changed


def _unknown(index: int) -> CellFlow:
    return CellFlow(index, barrier="nothing is known of what it reads and changes", unparsed=True)


def _remember(sizes: dict[str, int], flow: CellFlow, facts: Facts | None) -> None:
    for name in flow.writes:
        if name not in flow.mutates:
            sizes.pop(name, None)
    if facts:
        sizes.update(facts.sizes)


def _estimate(flow: CellFlow, facts: Facts | None, sizes: Mapping[str, int], costs: Costs) -> Estimate:
    incoming = sum(sizes.get(n, 0) for n in flow.reads)
    outgoing = sum(facts.sizes.values()) if facts else 0
    outgoing += sum(sizes.get(n, 0) for n in flow.mutates if not facts or n not in facts.sizes)
    changes = max((sizes.get(n, 0) for n in flow.mutates), default=0)
    if facts and not facts.raised:
        seconds = facts.seconds
        heavy = seconds > 10 * (costs.move(incoming + outgoing) + costs.commit_seconds)
    else:
        # A run that ended in an exception says little of how long the whole cell takes: presume, but not less.
        seconds = max(
            min(flow.weight, costs.presumed_most_seconds),
            costs.presumed_seconds if flow.loops else 0.0,
            facts.seconds if facts else 0.0,
        )
        heavy = seconds >= costs.heavy_seconds
    values = {n for n in flow.writes if not n.startswith("@")}
    if values and values <= flow.definitions:
        heavy = False
    return Estimate(
        seconds=seconds,
        measured=facts is not None,
        heavy=heavy,
        repeatable=not heavy and _repeatable(flow, facts),
        in_bytes=incoming,
        out_bytes=outgoing,
        changes_bytes=changes,
        peak_bytes=facts.peak_bytes if facts else 0,
    )


def _repeatable(flow: CellFlow, facts: Facts | None) -> bool:
    if flow.barrier or flow.unparsed or flow.effects & UNREPEATABLE or flow.file_writes:
        return False
    if facts is None:
        return True
    return not (facts.effects & UNREPEATABLE or facts.files_written or facts.sticky or facts.raised)


def _functions(cell: Cell, flow: CellFlow) -> frozenset[str]:
    """Return the cell's definitions other than imports; all of them if its text cannot be read."""
    try:
        tree = ast.parse(cell.python if cell.python is not None else cell.source)
    except SyntaxError:
        return flow.definitions
    imported = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    return flow.definitions - imported
