"""What is known of each loop of the text: how often it has run in a cell, how fast, and what it did."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .rewrite import Spec, spec_from

SHORT = 0.1
"""Seconds: an execution of a loop that will surely not take as long is not looked at."""
LEARNT = 8
"""Executions of a loop that are looked at before any is passed over."""
TOLD = 100
"""Executions of one loop with a report of their own; what later ones took is only added up."""
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SIZED: Any = frozenset((list, tuple, range, str, bytes, dict, set, frozenset, *_VIEWS))


class Place:
    """One loop of the text, in one execution of a cell."""

    def __init__(self, spec: Spec, expected: float) -> None:
        self.spec = spec
        self.expected = expected
        """Seconds that an execution took in an earlier run; 0 = not known."""
        self.runs = 0
        """Executions so far, those passed over included."""
        self.looked = 0
        self.seconds = 0.0
        """What the executions that were looked at would have taken in one process."""
        self._began = 0.0
        """When the last execution began."""
        self.pace = 0.0
        """Longest mean time of an iteration that was seen lately; 0 = not known."""

    def pass_over(self, iterable: Any) -> bool:
        """Count an execution; return whether it is surely too short to be looked at."""
        self.runs += 1
        if self._due():
            return False
        if type(iterable) in _SIZED:
            return len(iterable) * self.pace < SHORT
        return self.mean < SHORT / LEARNT

    def seldom(self) -> bool:
        """Count an execution whose items are not known yet; return whether it is not to be looked at."""
        self.runs += 1
        return not self._due() and self.mean < SHORT / LEARNT

    def _due(self) -> bool:
        """Whether this execution must be looked at: the last one, or what came after it, was not short."""
        began, self._began = self._began, time.perf_counter()
        return self.spec.asked or self.looked < LEARNT or self._began - began >= SHORT or self.pace <= 0

    def add(self, seconds: float, iterations: int) -> None:
        """Take down what an execution took."""
        self.looked += 1
        self.seconds += seconds
        if iterations:
            self.pace = max(seconds / iterations, 0.5 * self.pace)

    @property
    def name(self) -> str:
        """What tells the present execution of the loop from all others in the cell."""
        return f"{self.spec.cell}.{self.spec.line}.{self.spec.column}.{self.runs}"

    @property
    def mean(self) -> float:
        """Seconds of an execution."""
        return self.seconds / self.looked if self.looked else 0.0


class Places:
    """The loops that one cell has met."""

    def __init__(self, expected: Mapping[str, float]) -> None:
        self._expected = expected
        self._places: dict[str, Place] = {}
        self.reports: list[dict[str, Any]] = []

    def of(self, text: str) -> Place:
        """Return the place of the spec that `rewrite` wrote as `text`."""
        found = self._places.get(text)
        if found is None:
            spec = spec_from(text)
            found = self._places[text] = Place(spec, self._expected.get(name_of(spec), 0.0))
        return found

    def report(self, place: Place) -> dict[str, Any]:
        """Return a report for an execution of the loop that begins now."""
        spec = place.spec
        made: dict[str, Any] = {
            "cell": spec.cell,
            "line": spec.line,
            "function": spec.function,
            "asked": spec.asked,
            "seconds": 0.0,
            "work": 0.0,
            "iterations": 0,
            "mapped": 0,
            "chunks": 0,
            "adopted": 0,
            "far": 0,
            "reason": "",
        }
        if place.runs <= TOLD:
            self.reports.append(made)
        return made

    def seconds(self) -> dict[str, float]:
        """Return the mean seconds of an execution of each loop, by `name_of`."""
        found: dict[str, float] = {}
        for place in self._places.values():
            name = name_of(place.spec)
            found[name] = max(found.get(name, 0.0), place.mean)
        return found


def name_of(spec: Spec) -> str:
    """Return the name of a loop in a cell's facts: its line, after the function that holds it."""
    return f"{spec.function}:{spec.line}" if spec.function else str(spec.line)
