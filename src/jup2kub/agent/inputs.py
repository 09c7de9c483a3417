"""Input files as the cells met them, so that it can be said if one changes while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from jup2kub.agent.observed import still
from jup2kub.model.facts import Facts


class Inputs:
    """The files that cells of one run have read."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, Mapping[str, Any]]] = {}

    def met(self, cell: int, observed: Mapping[str, Any]) -> None:
        """Note the files that a cell was seen to read, as `observed.observe` tells them."""
        for name, state in observed.get("files", {}).items():
            if state and "bytes" in state:
                self._first.setdefault(name, (cell, state))

    def changed(self, project: Path, written: Set[str]) -> dict[str, int]:
        """Return the files that are not what they were when first read, but for `written` ones; and who read them."""
        return {
            name: cell
            for name, (cell, state) in sorted(self._first.items())
            if name not in written and not still({"files": {name: state}}, project, {})
        }

    def report(self, project: Path, facts: Iterable[Facts], say: Callable[[str], None]) -> None:
        """Say which files were changed, by others than the cells with these `facts`."""
        written = frozenset(n for seen in facts for n in seen.files_written)
        for name, cell in self.changed(project, written).items():
            say(
                f"{name} was changed by somebody else after cell {cell} had read it: "
                "the results may be of both contents; run again"
            )
