"""A plan with what was seen of its cells, where nobody is at hand who could plan once more. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jup2kub.agent.judge import beyond
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellEdge, CellPlan, Plan

RULE = "seen"
"""Rule of the edges that were met while running."""


def with_seen(plan: Plan, facts: Mapping[int, Facts]) -> Plan:
    """Return the plan with the versions that cells were seen to make beyond it: see `with_versions`."""
    return with_versions(plan, {c.index: beyond(c, facts[c.index]) for c in plan.cells if c.index in facts})


def with_versions(plan: Plan, made: Mapping[int, frozenset[str]]) -> Plan:
    """Return the plan in which cells make these versions too, with edges to those who use them.

    A result that was made without such a cell then has another key than the one that is looked for, and is not taken.
    """
    cells = tuple(replace(c, mutates=c.mutates | made.get(c.index, frozenset())) for c in plan.cells)
    edges = tuple(
        CellEdge(source, cell.index, RULE, name)
        for source, names in sorted(made.items())
        for name in sorted(names)
        for cell in cells
        if cell.index > source and name in _uses(cell)
    )
    return replace(plan, cells=cells, cell_edges=plan.cell_edges + edges)


def versions_beyond(plan: Plan, other: Plan) -> dict[int, frozenset[str]]:
    """Return the versions that cells make by `other`, and not by `plan`, of which it is an extension."""
    before = {c.index: c.writes for c in plan.cells}
    return {c.index: c.writes - before[c.index] for c in other.cells if c.writes - before[c.index]}


def _uses(cell: CellPlan) -> frozenset[str]:
    return cell.reads | cell.mutates | cell.deletes
