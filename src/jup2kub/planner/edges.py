"""Why one step follows another: the edges between steps and main, each with reasons in words."""

from __future__ import annotations

from collections.abc import Sequence

from jup2kub.model.flow import FlowGraph
from jup2kub.model.plan import Reason, Step, StepEdge

from .law import resource
from .slices import Slicer

MAIN = "main"


def step_edges(slicer: Slicer, graph: FlowGraph, steps: Sequence[Step]) -> tuple[StepEdge, ...]:
    """Return the edges between different steps, and between steps and `main`, in a stable order."""
    owner = {i: s.id for s in steps for i in s.cells}
    found: dict[tuple[str, str], dict[Reason, None]] = {}
    for edge in graph.edges:
        source, target = owner.get(edge.source, MAIN), owner.get(edge.target, MAIN)
        if source != target:
            text = words(slicer, edge.name, edge.source, edge.target)
            reason = Reason(edge.rule, edge.name, (edge.source, edge.target), text)
            found.setdefault((source, target), {})[reason] = None
    for step in steps:
        for name, producer in sorted(step.loads.items()):
            source = owner.get(producer, MAIN)
            direct = any(name == r.name and producer == r.cells[0] for r in found.get((source, step.id), ()))
            if source != step.id and not direct:
                text = f"the quick cells that the step repeats first need {resource(name)}, which cell {producer} makes"
                reason = Reason("J2K330", name, (producer, step.cells[0]), text)
                found.setdefault((source, step.id), {})[reason] = None
    return tuple(StepEdge(s, t, tuple(reasons)) for (s, t), reasons in sorted(found.items()))


def words(slicer: Slicer, name: str, source: int, target: int) -> str:
    """Return in words why cell `target` follows cell `source` because of `name`."""
    flows = slicer.sheet.flows
    before = flows.get(source)
    what = resource(name) if name else "everything before it"
    if name.startswith("@file:"):
        return f"cell {target} uses {what}, which cell {source} uses before"
    if name.startswith("@"):
        return f"cell {target} depends on {what}, which cell {source} may change"
    if before and name in before.deletes:
        return f"cell {target} depends on {what}, which cell {source} deletes"
    if before and name in before.mutates and name not in before.defines:
        return f"cell {target} needs {what}, which cell {source} {'changes' if name in before.certain else 'may change'} in place"
    if before and name in before.writes:
        return f"cell {target} needs {what}, which cell {source} makes"
    return f"cell {target} must follow cell {source} ({what})"
