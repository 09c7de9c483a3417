"""What a run has seen of a cell: the traced layer of knowledge, kept in the store's profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Optional, Tuple

Names = FrozenSet[str]


@dataclass(frozen=True)
class Facts:
    """Observed in one execution of a cell; names and resources as in `model.flow`."""

    bound: Names = frozenset()
    """Names bound to another object than before."""
    deleted: Names = frozenset()
    mutated: Names = frozenset()
    """Names and resources found changed in place."""
    unchanged: Names = frozenset()
    """Names and resources compared before and after, and found the same: only these can remove an edge."""
    aliases: Tuple[Names, ...] = ()
    """Names found to share a mutable object after the cell."""
    files_read: Tuple[str, ...] = ()
    files_written: Tuple[str, ...] = ()
    absent: Tuple[str, ...] = ()
    """Paths looked for and not found."""
    env_read: Tuple[str, ...] = ()
    effects: Names = frozenset()
    """As `CellFlow.effects`, but observed."""
    imports: Tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    validation_seconds: float = 0.0
    """Of the processor, spent before and after the cell on taking down what it changes; no part of `seconds`."""
    peak_bytes: int = 0
    grown_bytes: Optional[int] = None
    """By how much the memory of its kernel grew at most while it ran: what a copy of a kernel, which shares the rest
    with the original, needs for it; None = not measured."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of what the cell made, per name, as saved."""
    save_seconds: float = 0.0
    """What saving it took; 0 = never saved."""
    loops: Mapping[str, float] = field(default_factory=dict)
    """Mean seconds that an execution of each loop would have taken in one process, of loops that may be map steps.

    By `line` for loops in the cell's text, by `function:line` for those in notebook functions that it called.
    """
    unshippable: Mapping[str, str] = field(default_factory=dict)
    """Names whose values cannot travel, and why."""
    sticky: str = ""
    """What the cell left running (thread, child process, …); empty = nothing."""
    raised: bool = False
    mispredicted: bool = False
    """A plan's assumption about this cell was found wrong: these facts hold for ever, whatever a later run sees."""


Profile = Mapping[str, Facts]
"""Facts by `profile_key` of the cell."""
