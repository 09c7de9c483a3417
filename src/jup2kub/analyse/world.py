"""The state of the notebook between two cells, as far as the text tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jup2kub.analyse.annotations import Annotations
from jup2kub.analyse.record import Record
from jup2kub.analyse.values import Code, Role, Value

Kinds = tuple[Value | None, ...]
"""What is known of the arguments of a call: that one is an array or a frame, or which function it is; None = any."""


class Sharing:
    """Which labels may share a mutable object: a partition from which a rebound name leaves."""

    def __init__(self) -> None:
        self._group: dict[str, set[str]] = {}

    def of(self, label: str) -> set[str]:
        return self._group.get(label) or {label}

    def expand(self, labels: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for label in labels:
            if label not in found:
                found |= self.of(label)
        return found

    def join(self, labels: Iterable[str]) -> set[str]:
        merged = self.expand(labels)
        if len(merged) > 1:
            for label in merged:
                self._group[label] = merged
        return merged

    def leave(self, label: str) -> None:
        group = self._group.pop(label, None)
        if group is not None:
            group.discard(label)


@dataclass
class Space:
    """The globals of the notebook, or of a module of the project folder."""

    label: str
    """Empty = the notebook; else `@mod:<name>`, the one version its globals have together."""
    env: dict[str, Value] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    """Modules star-imported whose names are not known."""


@dataclass
class World:
    """All that carries over from cell to cell while the notebook is walked in order."""

    tables: Annotations
    modules: Mapping[str, str]
    """Sources of the project folder's modules."""
    spaces: dict[str, Space] = field(default_factory=lambda: {"": Space("")})
    sharing: Sharing = field(default_factory=Sharing)
    seeded: set[str] = field(default_factory=set)
    figures: bool = False
    """Figures outlive their cell: another backend than the inline one."""
    outs: list[tuple[int, bool, Value]] = field(default_factory=list)
    """Cells whose last expression may leave a value in `_`: cell, whether it surely does, the value."""
    counts: dict[int, int] = field(default_factory=dict)
    """Execution count of a top-to-bottom run -> cell."""
    current: int = 0
    memo: dict[tuple[Code, Kinds], Record] = field(default_factory=dict)
    draft: dict[tuple[Code, Kinds], Record] = field(default_factory=dict)
    """Records made while a recursion was being followed: good until it ends."""
    active: list[tuple[Code, Kinds]] = field(default_factory=list)
    pending: dict[tuple[Code, Kinds], Record] = field(default_factory=dict)
    escaped: list[Role] = field(default_factory=list)
    """Notebook code that is being followed because somebody else may call it."""
    asking: list[tuple[frozenset[Role], str]] = field(default_factory=list)
    """Attributes and operators of objects of the notebook that are being followed."""
    lists_subclasses: bool = False
    """The notebook asks a class for its subclasses: defining one changes it."""
    asks_decimal_flags: bool = False
    """The notebook looks at the flags of a decimal context: every decimal operation may raise one."""
    logs_aside: bool = False
    """The notebook or its modules name handlers of logs, or hooks, that may keep what is logged or do something with it."""
    rewritten: bool = False
    """The notebook has reached for what transforms the text of cells: it does not tell what they do any more."""
    log_files: list[str] = field(default_factory=list)
    """Files that logging writes to."""
    callbacks: dict[str, Value] = field(default_factory=dict)
    """What libraries were given to keep, by the place (dotted) where they keep it; objects share `&<place>`."""
    mortal: list[Code] = field(default_factory=list)
    """Classes with a `__del__` of which there are objects."""
    watched: set[str] = field(default_factory=set)
    """Labels whose objects are watched weakly: it is noticed when they die."""

    def give_up(self) -> None:
        """Forget what was being followed when a walk was cut short."""
        for following in (self.draft, self.active, self.pending, self.escaped, self.asking):
            following.clear()

    def space(self, label: str) -> Space:
        return self.spaces[label]

    def fresh(self, record: Record) -> bool:
        """Whether the globals that a function's record relied on are still the same."""
        return all(self.spaces[s].env.get(n) is v for (s, n), v in record.deps.items())
