"""After a cell that ran apart from the main line: did it do only what the plan said of it?

Pure. A broken assumption is a value, `Mispredicted`, never an exception.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from jup2kub.agent.recipe import shippable
from jup2kub.model.facts import Facts
from jup2kub.model.flow import PLACED
from jup2kub.model.plan import CellPlan

KERNEL_NAMES = frozenset(
    {"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out", "exit", "quit"}
)

IMPORTED_WITH = ("@warnings", "@rc:", "@options:", "@env", "@lib:logging")
"""Settings that importing a package may move."""
STANDARD = frozenset(getattr(sys, "stdlib_module_names", ()))
"""Modules whose import moves no setting; none are known before Python 3.10."""


@dataclass(frozen=True)
class Mispredicted:
    """The plan was wrong about a cell; from it on the run goes in notebook order."""

    cell: int
    reason: str
    """In a scientist's words."""
    facts: Facts
    """What is true of the cell, kept for ever."""


def plain(names: Iterable[str]) -> set[str]:
    """Return the notebook's own variables among `names`: without resources and the kernel's history names."""
    return {n for n in names if not n.startswith("@") and not _history(n)}


def _history(name: str) -> bool:
    return name in KERNEL_NAMES or (name[:1] == "_" and name[1:].lstrip("i").isdigit())


def judge(cell: CellPlan, facts: Facts, earlier: Set[str] = frozenset()) -> Mispredicted | None:
    """Return what the plan did not know of a cell that ran ahead of its turn and nothing can mend; None = nothing.

    `earlier`: names and resources of which earlier cells make versions. Versions that the cell made beyond its plan are no matter of this function: see `beyond`.
    """
    problem = _surprise(cell, facts, earlier)
    if problem is None:
        return None
    return Mispredicted(cell.index, problem, replace(facts, mispredicted=True))


def beyond(cell: CellPlan, facts: Facts) -> frozenset[str]:
    """Return the names and resources whose versions the cell made although its plan does not say so.

    They are its results too, as long as no later cell has used the version before.
    """
    changed = plain(facts.mutated)
    shared = {n for group in facts.aliases if plain(group) & changed for n in plain(group)}
    ambient = {n for n in facts.mutated if n.startswith("@")}
    made = frozenset((plain(facts.bound | facts.deleted) | changed | shared | ambient) - cell.writes)
    return made | (
        cell.lifted & facts.mutated
    )  # every other kernel has them as they were when they were made


def resident(cell: CellPlan, facts: Facts) -> dict[str, str]:
    """Return the state of libraries and of the kernel that the cell made, which stays in its kernel, and why."""
    made = {n for n in cell.writes | facts.mutated if not shippable(n) and not n.startswith(PLACED)}
    return dict.fromkeys(made, "state of a library or of the kernel cannot be saved")


def moved_by_imports(facts: Facts) -> set[str]:
    """Return the settings that moved while the cell imported packages: whoever imports them has these too."""
    return {n for n in facts.mutated if n.startswith(IMPORTED_WITH) and set(facts.imports) - STANDARD}


def unread(cell: CellPlan, facts: Facts, names: Set[str]) -> set[str]:
    """Return those generators among `names` that the cell drew from, although its plan does not say so."""
    return {n for n in facts.mutated & names if n.startswith("@rng:")} - cell.reads - cell.writes


def _surprise(cell: CellPlan, facts: Facts, earlier: Set[str]) -> str | None:
    drawn = unread(cell, facts, earlier)
    if drawn:
        return (
            f"it draws from {listed(drawn)}, which an earlier cell has seeded and its own text does not name"
        )
    stuck = {n for n in beyond(cell, facts) if not shippable(n)}
    if stuck:
        return f"it changed {listed(stuck)} (state of libraries that later cells use)"
    files = set(facts.files_written) - set(cell.file_writes)
    if files and "*" not in cell.file_writes:
        return f"it wrote {listed(files)}, which its text does not say"
    if facts.sticky:
        return f"it left something running: {facts.sticky}"
    return None


def listed(names: Iterable[str]) -> str:
    """Return a few of the names as text."""
    found = sorted(names)
    return ", ".join(found[:4]) + (" …" if len(found) > 4 else "")
