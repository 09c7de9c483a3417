"""What a certificate says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jup2kub.kit import canon
from jup2kub.model.run import CellOutcome

EQUAL, DIFFERENT, NONDETERMINISTIC, UNCOMPARED = "equal", "different", "nondeterministic", "not compared"
VERDICTS = (EQUAL, DIFFERENT, NONDETERMINISTIC, UNCOMPARED)


@dataclass(frozen=True)
class Execution:
    """One execution of a notebook."""

    outcomes: Mapping[int, CellOutcome]
    """By index of the cell; with `digests` of variables and `files` where they were taken."""
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Digest of each file that the execution left or changed, by path; None = removed."""
    seconds: float = 0.0
    """Wall-clock time of the whole."""


@dataclass(frozen=True)
class Comparison:
    """One thing compared in the three executions."""

    kind: str
    """`status`, `stream`, `warnings`, `display`, `result`, `error`, `variable` or `file`."""
    name: str
    """Of the stream, mime type, variable or file."""
    verdict: str
    """`equal`; `different`; `nondeterministic` = the sequential runs differ from each other, and the planned one has
    what they have in common; `not compared` = no digest could be taken."""
    note: str = ""
    """In words, if there is more to say."""
    masks: int = 0
    """Number of tokens, or runs of tokens, that were masked."""
    first: str | None = None
    """What the first sequential run gave; None = nothing, or it is equal and not repeated here."""
    second: str | None = None
    """What the second sequential run gave; None likewise, or the same as the first."""
    planned: str | None = None
    """What the planned run gave; None likewise."""


@dataclass(frozen=True)
class CellReport:
    """One code cell."""

    index: int
    verdict: str
    """`different` if anything is, else `nondeterministic` if anything is, else `equal`, or `not compared`."""
    comparisons: tuple[Comparison, ...]
    source: str = ""
    where: str = ""
    """`main`, or the step that ran it in the planned run."""
    seconds: float = 0.0
    """Of the planned run."""


@dataclass(frozen=True)
class Certificate:
    """Two sequential executions and a planned one, compared."""

    notebook: str
    """Its file name; empty if not given."""
    cells: tuple[CellReport, ...]
    files: tuple[Comparison, ...]
    """Files as the whole executions left them."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether nothing is different."""
        return all(one.verdict != DIFFERENT for one in self.comparisons)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons, of cells and of files."""
        return (*(one for cell in self.cells for one in cell.comparisons), *self.files)

    @property
    def counts(self) -> dict[str, int]:
        """Number of comparisons by verdict."""
        return {verdict: sum(one.verdict == verdict for one in self.comparisons) for verdict in VERDICTS}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the fields, and `equal` and `counts`."""
        return {"equal": self.equal, "counts": self.counts, **canon.to_json(self)}


def summed(comparisons: tuple[Comparison, ...]) -> str:
    """Return the verdict of several comparisons together."""
    verdicts = {one.verdict for one in comparisons}
    for verdict in (DIFFERENT, NONDETERMINISTIC, EQUAL):
        if verdict in verdicts:
            return verdict
    return UNCOMPARED if verdicts else EQUAL
