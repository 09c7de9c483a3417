"""A plan cut into tasks that share nothing but a folder, for workflow systems that run a graph from its sources to its sink.

Python >= 3.9 and the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from jup2kub.model.job import Job
from jup2kub.model.notebook import Notebook

PARTS_VERSION = 1
LAST = "notebook"
"""Name of the task that runs the whole notebook and writes the executed one."""


@dataclass(frozen=True)
class Part:
    """One task: some heavy cells of the notebook, and what they need."""

    name: str
    """Lower-case letters, digits and hyphens."""
    cells: Tuple[int, ...]
    """Cells whose results it is there to make; those of the last task: all that were not made before."""
    runs: Tuple[int, ...]
    """Cells that it runs, or takes from the store: `cells` and all that they depend on, in notebook order."""
    after: Tuple[str, ...] = ()
    """Names of the tasks whose results it takes."""
    cpu: Optional[float] = None
    """Cores; None = not known."""
    memory: Optional[int] = None
    """Bytes; None = not known."""
    gpu: Optional[int] = None
    """Devices; None = none."""


@dataclass(frozen=True)
class Kept:
    """A step that is no task of its own, and why."""

    step: str
    cells: Tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Parts:
    """All tasks of an exported notebook, each after those it comes after; the last one is `LAST`."""

    job: Job
    notebook: Notebook
    parts: Tuple[Part, ...]
    kept: Tuple[Kept, ...] = ()
    """Steps that the last task runs."""
    version: int = PARTS_VERSION
