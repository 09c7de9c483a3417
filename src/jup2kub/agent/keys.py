"""Memo keys: which earlier result may stand for running a cell.

A key is built from the sources of the cell and of everything it depends on, in notebook order: running those gives what
the cell reads; and from what each of these met outside the notebook when it ran: content of files, settings of the
environment, and for one that would not do the same again, which execution it was. What the cell itself met is known
only afterwards: its record tells, and it is looked at before a reuse.

A cell has two keys: by the edges of the plan, and by those of the text alone together with them. What was learned of a
notebook takes edges away; by the second key a result is found again that was made before that was known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Dict, Optional, Set, Tuple

from jup2kub.kit.canon import digest
from jup2kub.kit.graph import closure
from jup2kub.model.plan import Plan

LOOKS_AT_ENVIRONMENT = re.compile(r"\$[A-Za-z_{]|posix\b|ctypes|\bcffi\b")
"""Cells that may read the environment where no trace sees it: by a shell, or by the C library. What goes through
`os.environ` is observed when the cell runs: see `observed`."""
PASSING = frozenset(
    [
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TERM",
        "COLUMNS",
        "LINES",
        "WINDOWID",
        "DISPLAY",
        "SSH_TTY",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "PYTEST_CURRENT_TEST",
    ]
)
"""Environment variables that change from call to call and decide nothing."""


def stable_digest(environ: Mapping[str, str]) -> str:
    """Return a digest of the whole environment but for what changes from call to call."""
    return digest({name: value for name, value in environ.items() if name not in PASSING})


def with_environment(sources: Mapping[int, str], environ: Mapping[str, str]) -> dict[int, str]:
    """Return what the keys say of each cell: its text, and if it may look at the environment unseen, a digest of that."""
    stable = stable_digest(environ)
    return {i: text + stable if LOOKS_AT_ENVIRONMENT.search(text) else text for i, text in sources.items()}


class Keys:
    """The keys of one plan.

    `world`: digest of interpreter, packages, CPU kind, threads and local modules. `met`: what earlier plans of this run
    were told by `executed`; it is shared and goes on growing.
    """

    def __init__(
        self, plan: Plan, sources: Mapping[int, str], world: str, met: Optional[Dict[int, str]] = None
    ) -> None:
        self._world = world
        self._met = {} if met is None else met
        self._sources = {c.index: digest(sources[c.index].encode()) for c in plan.cells}
        planned: Dict[int, Set[int]] = {}
        for edge in plan.cell_edges:
            planned.setdefault(edge.target, set()).add(edge.source)
        wide = {cell: set(before) for cell, before in planned.items()}
        for source, target in plan.text_edges:
            wide.setdefault(target, set()).add(source)
        self._before: Tuple[Mapping[int, Set[int]], ...] = (planned, wide) if plan.text_edges else (planned,)

    def executed(self, cell: int, met: str) -> None:
        """Say what an execution met, on which the keys of later cells depend; empty = nothing outside the notebook."""
        self._met[cell] = met

    def of(self, cell: int) -> str:
        """Return the memo key of a cell by the edges of the plan: 64 hexadecimal digits."""
        return self._key(cell, self._before[0])

    def all_of(self, cell: int) -> Tuple[str, ...]:
        """Return every key under which a result of the cell may be found, the most precise first."""
        return tuple(dict.fromkeys(self._key(cell, before) for before in self._before))

    def _key(self, cell: int, before: Mapping[int, Set[int]]) -> str:
        ancestors = sorted(closure([cell], before) - {cell})
        parts = [(self._sources[i], self._met.get(i, "")) for i in ancestors if i in self._sources]
        return digest([self._world, self._sources[cell], parts])
