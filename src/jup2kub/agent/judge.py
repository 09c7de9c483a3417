"""After a cell that ran apart from the main line: did it do only what the plan said of it?

Pure. A broken assumption is a value, `Mispredicted`, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan

KERNEL_NAMES = frozenset(
    {"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out", "exit", "quit"}
)


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


def judge(cell: CellPlan, facts: Facts) -> Mispredicted | None:
    """Return what the plan did not know of a cell that ran ahead of its turn; None = it kept to its word."""
    problem = _surprise(cell, facts)
    if problem is None:
        return None
    return Mispredicted(cell.index, problem, replace(facts, mispredicted=True))


def _surprise(cell: CellPlan, facts: Facts) -> str | None:
    undeclared = plain(facts.bound | facts.deleted) - cell.writes
    if undeclared:
        return f"it bound {_list(undeclared)}, which its text does not say"
    changed = plain(facts.mutated) - cell.writes
    if changed:
        return f"it changed {_list(changed)} in place, which its text does not say"
    shared = {n for group in facts.aliases for n in plain(group) if plain(group) & plain(facts.mutated)}
    if shared - cell.writes:
        return f"what it changed is shared with {_list(shared - cell.writes)}"
    ambient = {n for n in facts.mutated if n.startswith("@")} - cell.writes
    if ambient:
        return f"it changed {_list(ambient)} (generators or settings that later cells use)"
    files = set(facts.files_written) - set(cell.file_writes)
    if files and "*" not in cell.file_writes:
        return f"it wrote {_list(files)}, which its text does not say"
    if facts.sticky:
        return f"it left something running: {facts.sticky}"
    return None


def _list(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:4]) + (" …" if len(found) > 4 else "")


def lost_reads(facts: Facts, written_meanwhile: frozenset[str]) -> frozenset[str]:
    """Return the files the cell read although another step was writing them."""
    return frozenset(facts.files_read) & written_meanwhile
