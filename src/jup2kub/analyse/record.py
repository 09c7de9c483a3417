"""What one walk over a cell, or over the body of a function, has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from jup2kub.analyse.values import ATOM, Value

CONDITIONAL, SPECULATIVE, CERTAIN = 0, 1, 2
"""How a mutation is known: on some path only; perhaps, by a statement that always runs; stated by the text."""


@dataclass(frozen=True)
class OpaqueOf:
    """A call of a method of a parameter."""

    text: str
    labels: frozenset[str]
    """The parameters that the object may come from."""
    discarded: bool
    """Its result is not used."""


@dataclass
class Record:
    """Names and labels as in `values`; for a function they are relative to its call."""

    reads: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    """Globals bound on some path."""
    bound: set[str] = field(default_factory=set)
    """Globals bound on every path, at the end."""
    deleted: set[str] = field(default_factory=set)
    marks: dict[str, set[int]] = field(default_factory=dict)
    """Mutations by label."""
    exports: dict[str, Value] = field(default_factory=dict)
    """What functions bind to globals."""
    definitions: set[str] = field(default_factory=set)
    effects: set[str] = field(default_factory=set)
    file_reads: list[str] = field(default_factory=list)
    file_writes: list[str] = field(default_factory=list)
    barrier: str | None = None
    guarded: set[str] = field(default_factory=set)
    opaque: list[str] = field(default_factory=list)
    opaque_of: list[OpaqueOf] = field(default_factory=list)
    """Calls that cannot be resolved unless it is known what is passed for a parameter."""
    unresolved: set[str] = field(default_factory=set)
    joins: list[frozenset[str]] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)
    called: set[int] = field(default_factory=set)
    """Parameters that the function calls, or hands to what may call them."""
    drained: set[str] = field(default_factory=set)
    """Parameters that the function goes through: iterators are used up by that."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Parameters and their attributes that are asked for, or (with `=`) stored, or `()` for operators: classes may run
    something then."""
    returns: Value = ATOM
    weight: float = 0.0
    loops: bool = False
    deps: dict[tuple[str, str], Value | None] = field(default_factory=dict)
    """Globals that were looked up, and what they were: the record holds as long as they are the same."""
    whole: bool = True
    """False if a recursion was cut short on the way."""
    late: bool = False
    """It reads every name there is."""

    def mark(self, label: str, strength: int) -> None:
        self.marks.setdefault(label, set()).add(strength)

    def files(self, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
        for path in reads:
            if path not in self.file_reads:
                self.file_reads.append(path)
        for path in writes:
            if path not in self.file_writes:
                self.file_writes.append(path)

    def stop(self, reason: str) -> None:
        """Make it a barrier; the first reason is kept."""
        self.barrier = self.barrier or reason
