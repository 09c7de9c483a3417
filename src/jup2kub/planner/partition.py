"""Which work leaves the main line: the steps of a plan, chosen by predicted makespan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from jup2kub.errors import UsageError
from jup2kub.model.plan import Decision

from .cost import Branch, Cells, Costs, Work, makespan
from .law import flow_names, stays, waits
from .presume import Sheet
from .slices import Slicer

WINDOW = 16
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
    refused: dict[int, Decision] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)

    def makespan(self, units: Sequence[Unit]) -> float:
        """Return the predicted seconds of the whole notebook."""
        return self.simulate(self.sheet.order, [u.cells for u in units])

    def simulate(self, cells: Sequence[int], units: Sequence[tuple[int, ...]]) -> float:
        """Return the predicted seconds of `cells` (notebook order) when each of `units` leaves."""
        inside = frozenset(cells)
        made = {u: frozenset().union(*(flow_names(self.sheet.flows[i]) for i in u)) for u in units}
        works = []
        for i in cells:
            pending = frozenset().union(*(names for u, names in made.items() if u[0] < i))
            held = bool(units) and waits(self.sheet, i, pending) is not None
            works.append(Work(i, self.sheet.estimates[i].seconds, self.sheet.before[i] & inside, held))
        branches = [self.branch(u, inside) for u in units]
        return makespan(works, branches, costs=self.costs, workers=self.workers, fork=self.fork)

    def branch(self, cells: tuple[int, ...], inside: Cells) -> Branch:
        """Return the unit `cells` as the simulation sees it."""
        own, estimates = frozenset(cells), self.sheet.estimates
        needs = frozenset().union(*(self.slicer.needs[i] for i in cells)) | frozenset().union(
            *(p for i in cells for p in [self.order[i] - self.sheet.before[i]])
        )
        replayed = frozenset().union(*(self.slicer.replayed[i] for i in cells)) - own
        return Branch(
            cells,
            sum(estimates[i].seconds for i in cells),
            (needs - own) & inside,
            {i: estimates[i].seconds for i in replayed if estimates[i].seconds},
            float(sum(estimates[i].out_bytes for i in cells)),
            float(sum(estimates[i].in_bytes for i in cells)),
        )


def stricter_order(sheet: Sheet) -> dict[int, frozenset[int]]:
    """Return for each cell what must have run before it may run outside main.

    Edges, and two things that only main's own order guards: a file write under an unknown name, and an unresolved
    call, which may read whatever exists by then.
    """
    found: dict[int, frozenset[int]] = {}
    unknown: set[int] = set()
    writers: set[int] = set()
    earlier: set[int] = set()
    for i in sheet.order:
        flow = sheet.flows[i]
        extra = set(unknown)
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
    return found


def partition(
    sheet: Sheet, costs: Costs, *, workers: int, offload: str, fork: bool, mapped: Cells
) -> Partition:
    """Cut the notebook. `offload`: `auto`, `all` or `none`; `mapped`: cells that stay, as their loops are spread."""
    found = Partition(sheet, costs, workers, fork, Slicer(sheet), stricter_order(sheet))
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
        if found.sheet.before[i] & after or waits(found.sheet, i, frozenset()):
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
        decision = stays(found.sheet, i, found.costs)
        names = flow_names(flow)
        if decision is None and names and names <= flow.definitions:
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


def _windows(found: Partition, taken: Iterable[int]) -> list[list[int]]:
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
        if (not free and waits(found.sheet, i, frozenset())) or (free and heavy == WINDOW):
            windows.append([])
            heavy = 0
        windows[-1].append(i)
        heavy += free
    return [w for w in windows if sum(found.sheet.estimates[i].heavy for i in w) > 1]


def _choose(found: Partition, window: list[int]) -> None:
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
        if without <= best + _margin(found, best):
            units, best = rest, without
    found.units.extend(Unit(u, gain=gains[u]) for u in units)


def _margin(found: Partition, best: float) -> float:
    """Return the least gain that is worth a step: predictions are not better than a twentieth."""
    return max(found.costs.fork_seconds, best / 20 if best < 2 else 0.1)


def _variants(
    found: Partition, window: list[int], first: int, units: Sequence[tuple[int, ...]]
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
    found: Partition, window: list[int], first: int, units: Sequence[tuple[int, ...]]
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
