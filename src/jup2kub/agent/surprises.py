"""Versions that no plan knew of, and the later cells that may have missed them.

Pure bookkeeping of one life of the main line: cells that run ahead of an unfinished one use what was there when they
began. When the unfinished one turns out to have made a version of a name beyond its plan, a later cell that used the
name (by its plan, or as was seen of it, now or when it ends) has used the wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping

from jup2kub.agent.judge import Mispredicted, listed
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan


class Surprises:
    """`cells`: the plan's, by index; `facts`: what was seen so far, growing."""

    def __init__(self, cells: Mapping[int, CellPlan], facts: Mapping[int, Facts]) -> None:
        self._cells, self._facts = cells, facts
        self._begun: set[int] = set()
        self._late: list[tuple[int, frozenset[str], frozenset[int]]] = []
        """(cell, names it made beyond its plan, later cells that had begun before that was known)."""

    def begin(self, index: int) -> None:
        """The cell begins, here or elsewhere."""
        self._begun.add(index)

    def made(self, index: int, names: frozenset[str]) -> tuple[int, Mispredicted] | None:
        """Note what a cell made beyond its plan; if a later cell has missed it: from where to run in order, and why."""
        if not names:
            return None
        later = frozenset(k for k in self._begun if k > index)
        self._late.append((index, names, later))
        used = [k for k in sorted(later) if self._planned(k, names) or self._seen(k, names)]
        return (min(later), self._wrong(index, names, used[0])) if used else None

    def ended(self, index: int) -> tuple[int, Mispredicted] | None:
        """Look at the facts of a cell that has ended: has it used a name that an earlier one had changed unnoticed?"""
        for culprit, names, later in self._late:
            if index in later and self._seen(index, names):
                return min(later), self._wrong(culprit, names, index)
        return None

    def _planned(self, index: int, names: frozenset[str]) -> bool:
        cell = self._cells[index]
        return bool((cell.reads | cell.writes) & names or cell.waits_all or cell.barrier)

    def _seen(self, index: int, names: frozenset[str]) -> bool:
        facts = self._facts.get(index)
        return facts is not None and bool((facts.mutated | facts.bound) & names)

    def _wrong(self, culprit: int, names: frozenset[str], used: int) -> Mispredicted:
        reason = f"it changed {listed(names)}, which its text does not say, and cell {used} had used it"
        return Mispredicted(culprit, reason, self._facts[culprit])
