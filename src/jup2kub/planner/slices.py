"""What a fresh kernel must do before it can run a step: replay cheap cells, load committed values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from jup2kub.model.flow import NONE, PLACED

from .law import travels
from .presume import Sheet


@dataclass(frozen=True)
class Slice:
    """The past of one step."""

    replays: tuple[int, ...] = ()
    """Cells to re-execute, in notebook order."""
    loads: tuple[tuple[str, int], ...] = ()
    """Name → the cell that made that version; sorted by name."""
    problems: tuple[str, ...] = ()
    """What neither replay nor load can give, in words; only a fork of main can then run the step."""


class Slicer:
    """Finds slices; one per sheet, so that the index of writers is built once."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.writers: dict[str, list[int]] = {}
        for i in sheet.order:
            for name in sheet.flows[i].writes:
                self.writers.setdefault(name, []).append(i)
        self.needs, self.replayed = _closures(sheet)
        self.ambient = tuple(i for i in sheet.order if self._configures(i))

    def _configures(self, index: int) -> bool:
        """Whether a cheap cell may change ambient or library state and can be replayed with nothing loaded."""
        written = self.sheet.flows[index].writes
        state = any(
            n.startswith("@") and n != "@out" and not n.startswith((*PLACED, "@rng:")) for n in written
        )
        return state and self.sheet.estimates[index].repeatable and not self.needs[index]

    def of(self, cells: tuple[int, ...]) -> Slice:
        """Return the slice of a step made of `cells` (notebook order)."""
        search = _Search(self, frozenset(cells))
        search.run(cells)
        kept = [i for i in self.ambient if i < cells[-1] and i not in cells]
        search.run(i for i in kept if i not in search.replays)
        return Slice(
            tuple(sorted(search.replays | set(kept))),
            tuple(sorted(search.loads.items())),
            tuple(dict.fromkeys(search.problems)),
        )

    def last_writer(self, name: str, index: int) -> int | None:
        """Return the last cell before `index` that makes a version of `name`."""
        found = self.writers.get(name, ())
        place = bisect_left(found, index)
        return found[place - 1] if place else None


class _Search:
    def __init__(self, slicer: Slicer, own: frozenset[int]) -> None:
        self.slicer, self.own = slicer, own
        self.replays: set[int] = set()
        self.loads: dict[str, int] = {}
        self.problems: list[str] = []

    def run(self, cells: Iterable[int]) -> None:
        todo = [(name, i) for i in cells for name in self._reads(i)]
        seen = set(todo)
        while todo:
            name, at = todo.pop()
            producer = self.slicer.last_writer(name, at)
            if producer is None or producer in self.own or name.startswith(PLACED) or name == "@out":
                continue
            if name in self._split(producer):
                fresh = {(n, producer) for n in self.slicer.sheet.flows[producer].lifted_reads} - seen
                seen |= fresh
                todo.extend(fresh)
                continue
            if self._replayable(producer):
                if producer not in self.replays:
                    self.replays.add(producer)
                    fresh = {(n, producer) for n in self._reads(producer)} - seen
                    seen |= fresh
                    todo.extend(fresh)
            else:
                self._load(name, producer)

    def _reads(self, index: int) -> frozenset[str]:
        flow = self.slicer.sheet.flows[index]
        if not flow.opaque:
            return flow.reads
        # What an unresolved call reads may be anything that exists by then.
        return flow.reads | {n for n, w in self.slicer.writers.items() if w[0] < index}

    def _split(self, index: int) -> frozenset[str]:
        """Return the definitions that every kernel makes from their own statements."""
        sheet = self.slicer.sheet
        return sheet.flows[index].lifted if index in sheet.split else NONE

    def _replayable(self, index: int) -> bool:
        return self.slicer.sheet.estimates[index].repeatable

    def _load(self, name: str, producer: int) -> None:
        flow = self.slicer.sheet.flows[producer]
        facts = self.slicer.sheet.facts.get(producer)
        if name.startswith("@") and not travels(name):
            self.problems.append(f"the state of {name[1:]} that cell {producer} leaves cannot be carried")
        elif name in self.slicer.sheet.functions.get(producer, ()):
            self.problems.append(f"`{name}` is defined in cell {producer}, which is not run twice")
        elif facts and name in facts.unshippable:
            self.problems.append(f"`{name}` of cell {producer} cannot be carried: {facts.unshippable[name]}")
        together = [g for g in flow.groups if name in g]
        for each in {name}.union(*together):
            held = self.loads.get(each)
            if held is not None and held != producer and each == name:
                self.problems.append(f"two versions of `{name}` are needed, of cells {held} and {producer}")
            elif held is None or producer > held:
                self.loads[each] = producer


def _closures(sheet: Sheet) -> tuple[dict[int, frozenset[int]], dict[int, frozenset[int]]]:
    """Return per cell, over the cell edges, the cells it needs that cannot be replayed, and those that can."""
    needs: dict[int, frozenset[int]] = {}
    replayed: dict[int, frozenset[int]] = {}
    for i in sheet.order:
        hard: set[int] = set()
        soft: set[int] = set()
        for p in sheet.before[i]:
            if sheet.estimates[p].repeatable:
                soft.add(p)
                hard |= needs[p]
                soft |= replayed[p]
            else:
                hard.add(p)
        needs[i], replayed[i] = frozenset(hard), frozenset(soft)
    return needs, replayed
