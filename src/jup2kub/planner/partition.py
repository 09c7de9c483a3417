"""Which work leaves the main line: the steps of a plan, chosen by predicted makespan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jup2kub.errors import UsageError
from jup2kub.model.plan import Decision

from .cost import NO_CELLS, Branch, Cells, Costs, Work, makespan
from .law import flow_names, stays, waits
from .presume import Sheet
from .slices import Slicer

WINDOW = 12
"""Heavy cells that are weighed against each other at once: the search is quadratic in it, linear in the notebook."""


@dataclass(frozen=True)
class Unit:
    """Cells that leave together."""

    cells: tuple[int, ...]
    name: str = ""
    """The user's name for it; empty = the planner's choice."""
    gain: float = 0.0
    """Predicted seconds saved by letting it leave."""


@dataclass
class Partition:
    """A sheet cut into main line and units; `refused` says why a cell that could matter may not leave."""

    sheet: Sheet
    costs: Costs
    workers: int
    fork: bool
    slicer: Slicer
    order: Mapping[int, frozenset[int]]
    """Cells that must have run before a cell that has left the main line: its edges, and what only main's order kept."""
    held: Cells = NO_CELLS
    """Cells that, in main, wait until nothing is pending."""
    refused: dict[int, Decision] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)
    works: dict[tuple[int, ...], tuple[Work, ...]] = field(default_factory=dict)
    """What the simulation was told of each range of cells, kept as it is asked often."""
    branches: dict[tuple[tuple[int, ...], tuple[int, ...]], Branch] = field(default_factory=dict)

    def makespan(self, units: Sequence[Unit]) -> float:
        """Return the predicted seconds of the whole notebook."""
        return self.simulate(self.sheet.order, [u.cells for u in units])

    def simulate(self, cells: tuple[int, ...], units: Sequence[tuple[int, ...]]) -> float:
        """Return the predicted seconds of `cells` (notebook order) when each of `units` leaves."""
        if cells not in self.works:
            inside = frozenset(cells)
            self.works[cells] = tuple(self._work(i, inside) for i in cells)
        works: Sequence[Work] = self.works[cells]
        wary = [w for w in works if self.sheet.flows[w.index].guarded and not w.waits] if units else []
        if wary:
            made = [(u[0], frozenset().union(*(flow_names(self.sheet.flows[i]) for i in u))) for u in units]
            held = {
                w.index
                for w in wary
                if any(f < w.index and self.sheet.flows[w.index].guarded & n for f, n in made)
            }
            works = [replace(w, waits=True) if w.index in held else w for w in works]
        branches = [self._branch(u, cells) for u in units]
        return makespan(works, branches, costs=self.costs, workers=self.workers, fork=self.fork)

    def _work(self, index: int, inside: Cells) -> Work:
        seconds = self.sheet.estimates[index].seconds
        return Work(index, seconds, self.sheet.before[index] & inside, index in self.held)

    def _branch(self, cells: tuple[int, ...], among: tuple[int, ...]) -> Branch:
        """Return the unit `cells` as the simulation of the cells `among` sees it."""
        if (cells, among) in self.branches:
            return self.branches[cells, among]
        own, estimates, slicer = frozenset(cells), self.sheet.estimates, self.slicer
        needs: set[int] = set()
        replayed: set[int] = set()
        for i in cells:
            needs |= slicer.needs[i] | (self.order[i] - self.sheet.before[i])
            replayed |= slicer.replayed[i]
        self.branches[cells, among] = branch = Branch(
            cells,
            sum(estimates[i].seconds for i in cells),
            frozenset(needs - own).intersection(among),
            {i: estimates[i].seconds for i in replayed - own if estimates[i].seconds},
            float(sum(estimates[i].out_bytes for i in cells)),
            float(sum(estimates[i].in_bytes for i in cells)),
        )
        return branch


def stricter_order(sheet: Sheet) -> dict[int, frozenset[int]]:
    """Return for each cell what must have run before it may run outside main.

    Edges, and what only main's own order guards: a barrier, a file write under an unknown name, and an unresolved call,
    which may read whatever exists by then.
    """
    found: dict[int, frozenset[int]] = {}
    unknown: set[int] = set()
    writers: set[int] = set()
    earlier: set[int] = set()
    barrier: set[int] = set()
    for i in sheet.order:
        flow = sheet.flows[i]
        extra = unknown | barrier
        if "*" in flow.file_reads:
            extra |= writers
        if flow.opaque:
            extra |= {e for e in earlier if not sheet.estimates[e].repeatable}
        found[i] = sheet.before[i] | extra
        facts = sheet.facts.get(i)
        files = flow.file_writes + (facts.files_written if facts else ())
        if files:
            writers.add(i)
        if "*" in files:
            unknown.add(i)
        earlier.add(i)
        if flow.barrier or flow.unparsed or sheet.cells[i].options.barrier:
            barrier = {i}
    return found


def partition(
    sheet: Sheet, costs: Costs, *, workers: int, offload: str, fork: bool, mapped: Cells
) -> Partition:
    """Cut the notebook. `offload`: `auto`, `all` or `none`; `mapped`: cells that stay, as their loops are spread."""
    held = frozenset(i for i in sheet.order if waits(sheet, i, frozenset()))
    found = Partition(sheet, costs, workers, fork, Slicer(sheet), stricter_order(sheet), held)
    if offload == "none":
        return found
    named = _named(found)
    taken = {i for u in named for i in u.cells} | mapped
    found.units = named
    if offload == "all":
        found.units = named + _every(found, taken)
    else:
        for window in _windows(found, taken):
            _choose(found, window)
    found.units.sort(key=lambda u: u.cells)
    if math.isinf(
        found.makespan(found.units)
    ):  # a step of the user's and one of ours would wait for each other
        found.units = sorted(named, key=lambda u: u.cells)
    return found


def _named(found: Partition) -> list[Unit]:
    groups: dict[str, list[int]] = {}
    for i in found.sheet.order:
        name = found.sheet.cells[i].options.step
        if name:
            groups.setdefault(name, []).append(i)
    units: list[Unit] = []
    for name, cells in groups.items():
        against = [d for i in cells if (d := stays(found.sheet, i, found.costs, named=True))]
        for decision in against:
            found.refused[decision.cells[0]] = decision
        if against:
            for i in cells:
                found.refused.setdefault(
                    i,
                    Decision(
                        "J2K311",
                        (i, *against[0].cells),
                        f"cell {i} stays in the main line with its step “{name}”: {against[0].text}",
                        against[0].hint,
                    ),
                )
            continue
        unit = Unit(tuple(cells), name)
        if math.isinf(found.makespan([*units, unit])):
            raise _entangled(found, unit)
        units.append(unit)
    return units


def _entangled(found: Partition, unit: Unit) -> UsageError:
    """Return why the cells of a named step cannot be one step."""
    inner = [i for i in found.sheet.order if unit.cells[0] < i < unit.cells[-1] and i not in unit.cells]
    after = set(unit.cells[:1])
    between = inner[0] if inner else unit.cells[0]
    for i in inner:
        if found.sheet.before[i] & after or i in found.held:
            after.add(i)
            between = i
            break
    cells = ", ".join(map(str, unit.cells))
    return UsageError(
        "J2K351",
        f"the cells {cells} cannot be one step “{unit.name}”: cell {between}, which lies between them, must run after "
        f"cell {unit.cells[0]} and before cell {unit.cells[-1]}",
        f"give cell {between} the same step name, or give the cells different names",
    )


def _every(found: Partition, taken: Iterable[int]) -> list[Unit]:
    units = []
    for i in found.sheet.order:
        if i in taken or i in found.refused:
            continue
        flow = found.sheet.flows[i]
        names = flow_names(flow)
        decision = stays(found.sheet, i, found.costs)
        if names and names <= flow.definitions and not flow.barrier:
            decision = Decision(
                "J2K312",
                (i,),
                f"cell {i} stays in the main line: it only imports or defines, which every kernel does itself",
            )
        if decision is None:
            units.append(Unit((i,)))
        else:
            found.refused[i] = decision
    return units


def _windows(found: Partition, taken: Iterable[int]) -> list[tuple[int, ...]]:
    """Cut the notebook where main must wait for everything anyway, and where too many heavy cells come together."""
    gone = frozenset(taken)
    windows: list[list[int]] = [[]]
    heavy = 0
    for i in found.sheet.order:
        if i in gone:
            continue
        estimate = found.sheet.estimates[i]
        if estimate.heavy:
            decision = stays(found.sheet, i, found.costs)
            if decision:
                found.refused[i] = decision
        free = estimate.heavy and i not in found.refused
        if (not free and i in found.held) or (free and heavy == WINDOW):
            windows.append([])
            heavy = 0
        windows[-1].append(i)
        heavy += free
    return [tuple(w) for w in windows if sum(found.sheet.estimates[i].heavy for i in w) > 1]


def _choose(found: Partition, window: tuple[int, ...]) -> None:
    """Let leave what makes this window shorter: cheapest return first, then in notebook order; then look back once."""
    estimates = found.sheet.estimates
    best = found.simulate(window, [])
    units: list[tuple[int, ...]] = []
    gains: dict[tuple[int, ...], float] = {}
    able = [i for i in window if estimates[i].heavy and i not in found.refused]
    for i in sorted(able, key=lambda i: (round(found.costs.move(estimates[i].out_bytes), 1), i)):
        if any(i in u for u in units):
            continue
        tried = sorted(
            (found.simulate(window, [*units, unit]), len(unit), unit)
            for unit in _variants(found, window, i, units)
        )
        if tried and best - tried[0][0] > _margin(found, best):
            gains[tried[0][2]] = best - tried[0][0]
            best = tried[0][0]
            units.append(tried[0][2])
    for unit in list(units):
        rest = [u for u in units if u != unit]
        without = found.simulate(window, rest)
        gains[unit] = without - best
        if gains[unit] <= _margin(found, best):
            units, best = rest, without
    found.units.extend(Unit(u, gain=gains[u]) for u in units)


def _margin(found: Partition, best: float) -> float:
    """Return the least gain that is worth a step: predictions are not better than a twentieth."""
    return max(found.costs.fork_seconds, best / 20 if best < 2 else 0.1)


def _variants(
    found: Partition, window: Sequence[int], first: int, units: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Return the units that could start with `first`: alone, and with the cells that follow only from it."""
    chain = _chain(found, window, first, units)
    heavy = [i for i in window if found.sheet.estimates[i].heavy]
    # A light cell is worth taking along only if main has heavy work left that it would otherwise hold up.
    while len(chain) > 1 and not found.sheet.estimates[chain[-1]].heavy:
        if any(h > chain[-1] and h not in chain for h in heavy):
            break
        chain = chain[:-1]
    return [(first,)] if len(chain) == 1 else [(first,), chain]


def _chain(
    found: Partition, window: Sequence[int], first: int, units: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """Return `first` and the later cells of the window whose pending inputs come from this chain alone."""
    own = [first]
    other = {i for u in units for i in u}
    for i in window:
        if i == first:
            continue
        if i < first:
            if found.sheet.estimates[i].heavy or found.order[i] & other:
                other.add(i)
            continue
        before = found.order[i]
        follows = bool(before.intersection(own))
        if follows and not before & other and i not in other and stays(found.sheet, i, found.costs) is None:
            own.append(i)
        elif found.sheet.estimates[i].heavy or follows or before & other:
            other.add(i)
    return tuple(own)
