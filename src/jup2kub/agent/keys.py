"""Memo keys: which earlier result may stand for running a cell.

A key is built from the sources of the cell and, through the edges, of everything it depends on; and from what each of
the cells it depends on met outside the notebook when it ran: content of files, settings of the environment, and for one
that would not do the same again, which execution it was. What the cell itself met is known only afterwards: its record
tells, and it is looked at before a reuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Dict, Optional

from jup2kub.kit.canon import digest
from jup2kub.model.plan import CellPlan, Plan


class Keys:
    """The keys of one plan.

    `world`: digest of interpreter, packages, CPU kind, threads and local modules. `met`: what earlier plans of this run
    were told by `executed`; it is shared and goes on growing.
    """

    def __init__(
        self, plan: Plan, sources: Mapping[int, str], world: str, met: Optional[Dict[int, str]] = None
    ) -> None:
        self._cells = {c.index: c for c in plan.cells}
        self._sources = sources
        self._world = world
        self._met = {} if met is None else met
        self._memo: dict[int, str] = {}
        self._before: dict[int, tuple[tuple[int, str], ...]] = {}
        for edge in plan.cell_edges:
            self._before[edge.target] = (*self._before.get(edge.target, ()), (edge.source, edge.name))

    def executed(self, cell: int, met: str) -> None:
        """Say what an execution met, on which the keys of later cells depend; empty = nothing outside the notebook."""
        if self._met.get(cell, "") != met:
            self._met[cell] = met
            self._memo.clear()

    def of(self, cell: int) -> str:
        """Return the memo key of a cell: 64 hexadecimal digits."""
        for index in sorted(self._ancestors(cell)):
            if index not in self._memo:
                self._memo[index] = self._make(self._cells[index])
        return self._memo[cell]

    def _ancestors(self, cell: int) -> Iterable[int]:
        seen, todo = {cell}, [cell]
        while todo:
            for source, _ in self._before.get(todo.pop(), ()):
                if source not in seen and source not in self._memo:
                    seen.add(source)
                    todo.append(source)
        return seen

    def _make(self, cell: CellPlan) -> str:
        parts = [
            (name, self._memo[source], self._met.get(source) or None)
            for source, name in sorted(set(self._before.get(cell.index, ())))
        ]
        return digest([self._world, self._sources[cell.index], cell.key, parts])
