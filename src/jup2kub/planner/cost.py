"""What leaving the main line costs, and how long a plan would take: a small simulation of the run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Cells = frozenset[int]
NO_CELLS: Cells = frozenset()


@dataclass(frozen=True)
class Costs:
    """Prices of one engine. Seconds, unless said otherwise."""

    fork_seconds: float = 0.02
    """Taking one fork of the main kernel."""
    kernel_seconds: float = 1.0
    """Starting one fresh kernel; what it replays comes on top."""
    dispatch_seconds: float = 0.0
    """Bringing a step to its worker: 0 on this machine, seconds for a pod."""
    save_seconds_per_byte: float = 1.0e-9
    load_seconds_per_byte: float = 0.8e-9
    commit_seconds: float = 0.02
    """Writing one commit record, however small the values."""
    heavy_seconds: float = 0.5
    """Presumed work from which a cell counts as heavy when it was never measured."""
    presumed_seconds: float = 1.0
    """What a cell that loops is presumed to take when nothing else is known."""
    presumed_most_seconds: float = 60.0
    """A text tells that a cell is heavy, hardly how heavy: no cell is presumed to take more."""
    map_gain_seconds: float = 1.0
    """Least saving for which the iterations of a loop are spread: 1 on this machine, 30 on a cluster."""
    ahead: bool = False
    """Whether the engine starts a step before main has reached its first cell, if all it needs is there."""
    big_bytes: int = 64 * 1024 * 1024
    """A cell that may change objects above this size in place stays in main until it has been measured."""

    def move(self, size: float) -> float:
        """Return the seconds for `size` bytes to leave one kernel and enter another."""
        return size * (self.save_seconds_per_byte + self.load_seconds_per_byte)


@dataclass(frozen=True)
class Work:
    """One cell, as the simulation sees it."""

    index: int
    seconds: float
    before: Cells = NO_CELLS
    """Cells that truly precede it, in the simulated range."""
    waits: bool = False
    """In main it runs only when nothing earlier is pending."""


@dataclass(frozen=True)
class Branch:
    """One step, as the simulation sees it."""

    cells: tuple[int, ...]
    seconds: float
    needs: Cells = NO_CELLS
    """Cells outside it, in the simulated range, that must have run: all that a fresh kernel could not replay."""
    replays: Mapping[int, float] | None = None
    """Seconds of each cheap cell that a kernel replays where it has not run yet."""
    out_bytes: float = 0.0
    in_bytes: float = 0.0


class _Run:
    """The state of one simulation: main at `now`, branches queued, running and finished."""

    def __init__(self, branches: Sequence[Branch], costs: Costs, workers: int, fork: bool) -> None:
        self.branches, self.costs, self.workers, self.fork = branches, costs, max(1, workers), fork
        self.owner = {i: n for n, b in enumerate(branches) for i in b.cells}
        self.now = 0.0
        self.at = math.inf if costs.ahead else -1.0
        self.done: set[int] = set()
        self.missing = [len(b.needs) for b in branches]
        self.readers: dict[int, list[int]] = {}
        for n, branch in enumerate(branches):
            for i in branch.needs:
                self.readers.setdefault(i, []).append(n)
        self.ready = [n for n, count in enumerate(self.missing) if not count]
        self.queue: list[int] = []
        self.running: list[tuple[float, int]] = []
        self.finished: dict[int, float] = {}
        self.loaded: set[int] = set()

    def ran(self, cells: Iterable[int]) -> None:
        """Note that `cells` have run."""
        for i in cells:
            self.done.add(i)
            for n in self.readers.get(i, ()):
                self.missing[n] -= 1
                if not self.missing[n]:
                    self.ready.append(n)

    def offer(self) -> None:
        """Queue every branch whose needs are met; main stands between two cells, or kernels are fresh."""
        reached = sorted(n for n in self.ready if self.branches[n].cells[0] <= self.at)
        self.queue.extend(reached)
        self.ready = [n for n in self.ready if n not in reached] if len(reached) < len(self.ready) else []

    def start(self, slots: int) -> None:
        while self.queue and len(self.running) < slots:
            n = self.queue.pop(0)
            branch, costs = self.branches[n], self.costs
            replay = branch.replays or {}
            if self.fork:
                opening = costs.fork_seconds + sum(s for i, s in replay.items() if i not in self.done)
            else:
                opening = (
                    costs.kernel_seconds
                    + sum(replay.values())
                    + branch.in_bytes * costs.load_seconds_per_byte
                )
            closing = branch.out_bytes * costs.save_seconds_per_byte + costs.commit_seconds
            end = self.now + costs.dispatch_seconds + opening + branch.seconds + closing
            heapq.heappush(self.running, (end, n))

    def finish_next(self) -> None:
        end, n = heapq.heappop(self.running)
        self.now = max(self.now, end)
        self.finished[n] = end
        self.ran(self.branches[n].cells)

    def step(self) -> bool:
        """While main waits: start what can start, then let the next branch finish; False if none is left."""
        self.offer()
        self.start(self.workers)
        if not self.running:
            return False
        self.finish_next()
        return True

    def wait(self, wanted: Iterable[int]) -> bool:
        """Let main wait for the branches `wanted` and load them; False if they wait for main in turn."""
        for n in sorted(set(wanted)):
            while n not in self.finished:
                if not self.step():
                    return False
            if n not in self.loaded:
                self.loaded.add(n)
                self.now += self.branches[n].out_bytes * self.costs.load_seconds_per_byte
        return True

    def main(self, work: Work) -> None:
        self.offer()
        self.start(self.workers - 1 if work.seconds > 0 else self.workers)
        while work.seconds > 0 and len(self.running) >= self.workers:
            self.finish_next()
        end = self.now + work.seconds
        while self.running and self.running[0][0] <= end:
            self.finish_next()
            if not self.fork:
                self.offer()
            self.start(self.workers - 1)
        self.now = max(self.now, end)
        self.ran((work.index,))


def makespan(
    works: Sequence[Work], branches: Sequence[Branch], *, costs: Costs, workers: int, fork: bool
) -> float:
    """Return the predicted seconds of the cells `works` (notebook order) when `branches` leave the main line.

    `workers`: kernels that compute at once; main counts as one while it executes. List scheduling: main goes in
    order and waits where it reads a pending value; a branch starts as soon as its needs are met, when main stands
    between two cells (`fork`) or at any time (fresh kernels). Infinite if main and a branch wait for each other.
    """
    run = _Run(branches, costs, workers, fork)
    for work in works:
        run.at = max(run.at, work.index)
        if work.index in run.owner:
            run.offer()
            run.start(run.workers)
            continue
        wanted = {run.owner[i] for i in work.before if i in run.owner}
        if work.waits:
            wanted |= {n for n, b in enumerate(branches) if b.cells[0] < work.index}
        if not run.wait(wanted):
            return math.inf
        run.main(work)
    while len(run.finished) < len(branches):
        if not run.step():
            return math.inf
    return run.now
