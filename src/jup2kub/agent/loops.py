"""What became of the loops of a cell: told where the user asked for a map step and got less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from jup2kub.agent.kernel import CellResult

ALONE = "one worker"
"""Why a loop runs in place where the user allows no other process: that is no news."""


def _line(report: Mapping[str, Any], sources: Mapping[int, str]) -> int:
    """Return the line of a loop in the text of its cell: the kernel counts from the start of a cell magic's body."""
    lines = sources.get(report["cell"], "").splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    magic = bool(lines) and lines[first].startswith("%%")
    return int(report["line"]) + (first + 1 if magic else 0)


def loops_of(result: CellResult, sources: Mapping[int, str]) -> tuple[Mapping[str, Any], ...]:
    """Return, for the executed notebook, the loops that were spread or were asked to be, in order of their starts.

    Keys: `line` (from 1), `function` (empty = top level), `iterations`, `spread` (iterations that other processes ran),
    and `why` the others ran in place (empty = as planned).
    """
    return tuple(
        {
            "line": _line(r, sources),
            "function": r["function"],
            "iterations": r["iterations"],
            "spread": r["mapped"],
            "why": r["reason"],
        }
        for r in result.extra.get("maps", ())
    )


def shortfall(result: CellResult, sources: Mapping[int, str]) -> Optional[str]:
    """Return in words why loops that the user asked to be spread ran in order, or partly so; None = they did not."""
    told = []
    for report in result.extra.get("maps", ()):
        if report["asked"] and report["reason"] and report["reason"] != ALONE:
            part = f" after {report['mapped']} iterations in other processes" if report["mapped"] else ""
            told.append(
                f"the loop in line {_line(report, sources)} goes on in order{part}, though `#| map` asks: {report['reason']}"
            )
    return "J2K368 " + "; ".join(dict.fromkeys(told)) if told else None
