"""What a run server and its agents must know of a run: the plan, the texts of the cells, and the user's terms.

The compile side writes it, as JSON, and it never changes. Python >= 3.9 and the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple

from jup2kub.model.plan import Plan

JOB_VERSION = 1
STEP = "job"
"""Name of the step in whose slot the job of a run lies."""


@dataclass(frozen=True)
class Job:
    """One notebook to be run by a server and agents."""

    name: str
    """Of the run, as the user sees it; chosen before there is a store."""
    plan: Plan
    sources: Mapping[int, str]
    """Text of every code cell."""
    keys: Mapping[int, str]
    """Profile key by cell."""
    notebook: str
    """Absolute path on the user's machine; tells tries of the same work."""
    project: str
    """Absolute path of the folder that the notebook runs in, wherever it runs."""
    files: Mapping[str, Optional[Dict[str, Any]]] = field(default_factory=dict)
    """The project's files, by path relative to `project`: `{sha256, bytes, mode, mtime}`; their blobs are in the store."""
    folders: Tuple[str, ...] = ()
    """The project's folders, empty ones too, relative to `project`."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Sources of the project's own modules, by dotted name."""
    kernel: str = ""
    """Name of a kernelspec in the image; empty = the interpreter that runs the agent."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Set for kernels, over the environment of the image."""
    parameters: str = ""
    """Digest of the parameters."""
    fresh: bool = False
    keep_going: bool = False
    offload: str = "auto"
    digests: bool = False
    redo: FrozenSet[int] = frozenset()
    skip: FrozenSet[int] = frozenset()
    collect: Tuple[str, ...] = ()
    shared: bool = False
    """Other sets of a sweep may compute the same: wait for whoever is first."""
    version: int = JOB_VERSION
