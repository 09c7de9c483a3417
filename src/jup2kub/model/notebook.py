"""A notebook as the program sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, FrozenSet, Mapping, Optional, Tuple


@dataclass(frozen=True)
class MapOption:
    """What `#| map` asks for."""

    chunks: Optional[int] = None
    """Number of chunks; None = by time."""
    limit: Optional[int] = None
    """Most chunks in flight at once; None = the number of workers."""


@dataclass(frozen=True)
class Options:
    """The user's own word about a cell: `#| key: value` lines, `jup2kub` metadata, tags."""

    step: Optional[str] = None
    """Cells of one name are one step; None = the planner decides."""
    map: Optional[MapOption] = None
    """Ask for a map step, and fail loudly if it cannot be had."""
    cpu: Optional[float] = None
    """Cores."""
    memory: Optional[int] = None
    """Bytes."""
    gpu: Optional[int] = None
    """Devices."""
    retries: Optional[int] = None
    """Times a failing cell is tried again; None = never for an error of the user's code."""
    timeout: Optional[float] = None
    """Seconds one execution of the cell may take; None = no limit."""
    barrier: bool = False
    skip: bool = False
    cache: Optional[bool] = None
    """True = reuse although it touched clock or network; False = never reuse; None = by observation."""
    volume: Optional[str] = None
    secret: Optional[str] = None


@dataclass(frozen=True)
class Cell:
    """One cell. `source` is the text as the user wrote it, option comments included."""

    index: int
    """Place among all cells of the notebook, from 0."""
    id: str
    kind: str
    """`code`, `markdown` or `raw`."""
    source: str
    tags: FrozenSet[str] = frozenset()
    options: Options = field(default_factory=Options)
    python: Optional[str] = None
    """Code cells: Python after IPython's input transformation (magics are `get_ipython()` calls), same number of
    lines where IPython keeps them; None if the cell does not transform or parse (then it is a barrier)."""

    @property
    def may_raise(self) -> bool:
        """Whether the tag `raises-exception` allows the cell to fail without ending the notebook."""
        return "raises-exception" in self.tags


@dataclass(frozen=True)
class Notebook:
    """A notebook of format 4.5; `document` is the nbformat dictionary it came from and is never changed."""

    cells: Tuple[Cell, ...]
    kernel: str
    """Name of the kernelspec; empty if the notebook names none."""
    language: str
    document: Mapping[str, Any]

    @property
    def code(self) -> Tuple[Cell, ...]:
        """The code cells that run: not empty, not skipped."""
        return tuple(c for c in self.cells if c.kind == "code" and c.source.strip() and not c.options.skip)
