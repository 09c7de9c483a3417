"""Memo keys: which earlier result may stand for running a cell.

A key is built from sources alone (the cell's, and through the edges those of everything it depends on), so that it is
known before anything runs. A cell that is not repeatable adds the token of the execution that made its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jup2kub.kit.canon import digest
from jup2kub.model.plan import CellPlan, Plan


class Keys:
    """The keys of one plan. `world`: digest of interpreter, packages, CPU kind, threads and local modules."""

    def __init__(self, plan: Plan, sources: Mapping[int, str], world: str) -> None:
        self._cells = {c.index: c for c in plan.cells}
        self._sources = sources
        self._world = world
        self._tokens: dict[int, str] = {}
        self._memo: dict[int, str] = {}
        self._before: dict[int, tuple[tuple[int, str], ...]] = {}
        for edge in plan.cell_edges:
            self._before[edge.target] = (*self._before.get(edge.target, ()), (edge.source, edge.name))

    def executed(self, cell: int, token: str) -> None:
        """Say which execution of an unrepeatable cell later keys depend on."""
        if self._tokens.get(cell) != token:
            self._tokens[cell] = token
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
            (name, self._memo[source], self._token(source))
            for source, name in sorted(set(self._before.get(cell.index, ())))
        ]
        return digest([self._world, self._sources[cell.index], cell.key, parts])

    def _token(self, cell: int) -> str | None:
        return self._tokens.get(cell)
