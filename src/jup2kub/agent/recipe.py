"""How a kernel that does not hold them gets the versions that some cells read: what to load, what to replay.

Pure. Used wherever a namespace has to be made anew: a step in a fresh kernel, a pod, a main line that was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Callable, Dict, Tuple

from jup2kub.model.flow import PLACED
from jup2kub.model.plan import CellPlan, Plan

Needs = Mapping[int, Tuple[Tuple[int, str], ...]]
"""For each cell the versions it reads: (cell that made it, name)."""


class PlanNeeds(Dict[int, Tuple[Tuple[int, str], ...]]):
    """The needs of a plan, with what may be made of a cell without running it."""

    lifted: Mapping[int, CellPlan]
    """Cells whose definitions are made from their own statements."""


SHIPPED_RESOURCES = ("@rng:", "@env", "@cwd", "@sys.path", "@warnings", "@rc:matplotlib", "@options:pandas")
"""Ambient state that can be saved and set again, as a value can."""


@dataclass(frozen=True)
class Op:
    """One act of making a namespace: `names` to load as `cell` left them (or to `define`), or none: replay `cell`."""

    cell: int
    names: frozenset[str] = frozenset()
    define: bool = False
    """Nothing is loaded: the definitions `names` are made from their own statements in the cell."""

    @property
    def replay(self) -> bool:
        """Whether the cell is executed again, outputs discarded."""
        return not self.names


FENCES = ("J2K150", "J2K151")
"""Rules of edges that stand for everything: the source may have made, or the target may read, whatever there is."""


def needs(plan: Plan) -> PlanNeeds:
    """Return which versions each cell reads: of every name the last one before it. Files are in the folder.

    The edges of a plan tell who is ordered, with one reason for a pair of cells; here every name counts.
    """
    found: dict[int, set[tuple[int, str]]] = {}
    for edge in plan.cell_edges:
        if edge.rule in FENCES:
            found.setdefault(edge.target, set()).add((edge.source, edge.name))
    last: dict[str, int] = {}
    for cell in plan.cells:
        read = {(last[n], n) for n in cell.reads if n in last and not n.startswith(PLACED)}
        if read:
            found.setdefault(cell.index, set()).update(read)
        last.update(dict.fromkeys(cell.writes, cell.index))
    result = PlanNeeds({cell: tuple(sorted(pairs)) for cell, pairs in found.items()})
    result.lifted = {cell.index: cell for cell in plan.cells if cell.lifted}
    return result


def read_later(wanted: Needs, cells: Iterable[int]) -> dict[int, frozenset[str]]:
    """Return, for each of the cells, the names whose versions later cells read."""
    later: dict[int, set[str]] = {}
    for pairs in wanted.values():
        for source, name in pairs:
            later.setdefault(source, set()).add(name)
    return {cell: frozenset(later.get(cell, ())) for cell in cells}


def shippable(name: str) -> bool:
    """Return whether a version of `name` can be a stored value at all (a variable, or ambient state with a setter)."""
    return not name.startswith("@") or name.startswith(SHIPPED_RESOURCES)


def recipe(
    targets: Iterable[int],
    needs: Needs,
    available: Callable[[int, str], bool],
    refers: Callable[[int, str], Iterable[int]] = lambda cell, name: (),
    has: Callable[[int, str], bool] = lambda cell, name: False,
) -> tuple[Op, ...]:
    """Return the acts, in notebook order, after which `targets` find everything they read.

    `available(cell, name)` tells whether that version can be loaded; what cannot be is made again by
    replaying its cell, with all that this cell needs in turn. `refers(cell, name)`: cells whose definitions a stored
    version refers to; they are replayed, for definitions travel as source. `has(cell, name)`: that version is in the
    kernel already.
    """
    lifted = needs.lifted if isinstance(needs, PlanNeeds) else {}
    loads: dict[int, set[str]] = {}
    replays: set[int] = set()
    defines: set[int] = set()
    todo = [(target, False) for target in targets]
    seen: set[tuple[int, bool]] = set()
    while todo:
        reader, only_defines = todo.pop()
        if (reader, only_defines) in seen:
            continue
        seen.add((reader, only_defines))
        for producer, name in needs.get(reader, ()):
            if has(producer, name) or (only_defines and name not in lifted[reader].lifted_reads):
                continue
            again: set[int] = set()
            if producer in lifted and name in lifted[producer].lifted:
                again = {producer}
            elif available(producer, name):
                loads.setdefault(producer, set()).add(name)
                again = {
                    c for c in refers(producer, name) if not (c in lifted and has(c, min(lifted[c].lifted)))
                }
            else:
                replays.add(producer)
                todo.append((producer, False))
            defines |= again & lifted.keys()
            replays |= again - lifted.keys()
            todo += [(cell, cell in lifted) for cell in again]
    ops = [Op(cell) for cell in replays]
    ops += [Op(cell, lifted[cell].lifted, define=True) for cell in defines - replays]
    ops += [Op(cell, frozenset(names)) for cell, names in loads.items() if cell not in replays]
    return tuple(sorted(ops, key=lambda op: (op.cell, not op.define)))


def adoptable(read_later: frozenset[str]) -> bool:
    """Return whether loading values can stand for running a cell, whose versions `read_later` later cells read.

    State inside a library has no form to travel in.
    """
    return all(shippable(n) for n in read_later if not n.startswith(PLACED))
