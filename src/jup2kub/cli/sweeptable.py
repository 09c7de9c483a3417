"""A sweep as the user sees it: a notebook for each parameter set in a folder, their table, and a line as each ends."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub import sweeping, sweeps
from jup2kub.agent.session import Told
from jup2kub.cli import common, results
from jup2kub.cli.progress import Progress
from jup2kub.compose import Settings
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK

Begin = Callable[[Callable[[int, Told], None], Callable[[sweeping.Member], None]], list[sweeping.Member]]
"""Runs all sets, or follows them: is given what tells their stories, and what takes each that has ended."""


def act(
    options: argparse.Namespace,
    wanted: Settings,
    folder: Path,
    sets: Sequence[Mapping[str, Any]],
    begin: Begin,
) -> int:
    """Let the sets be run; write what comes of each as it comes, and the table whatever happens. Returns the exit code."""
    rows: dict[int, sweeps.SweepRow] = {}

    def finished(member: sweeping.Member) -> None:
        state = "aborted"
        if member.done is not None:
            mine = replace(wanted, parameters=member.parameters)
            target = folder / sweeps.file_name(member.number, len(sets))
            results.write(target, results.document(member.done, mine))
            state = "error" if results.published_errors(member.done) else "ok"
        values = member.done.values if member.done else {}
        rows[member.number] = sweeps.SweepRow(member.number, member.parameters, state, member.seconds, values)
        why = f": {reason}" if (reason := _reason(member)) else ""
        common.say(
            f"set {member.number} {member.parameters} {state} in {common.duration(member.seconds)}{why}"
        )

    stories = [Progress(prefix=f"set {number}: ") for number in range(len(sets))]
    try:
        done = begin(lambda number, told: stories[number](told), finished)
    finally:
        ordered = [rows[n] for n in sorted(rows)]
        common.save(folder / "sweep.csv", sweeps.table(ordered, wanted.collect))
    problems = [member.problem for member in done if member.problem is not None]
    if len(problems) == len(sets):
        raise problems[0]
    for name in wanted.collect:
        if not any(name in row.values for row in ordered):
            common.say(f"note: no set has a variable `{name}`: its column is empty")
    if options.json:
        states = [
            {"parameters": r.parameters, "state": r.state, "seconds": round(r.seconds, 3)} for r in ordered
        ]
        common.result(json.dumps({"output": str(folder), "sets": states}))
    else:
        common.result(str(folder))
    return EXIT_CELL_RAISED if any(row.state != "ok" for row in ordered) else EXIT_OK


def _reason(member: sweeping.Member) -> str:
    """Return why a set did not come to its end; empty if it did."""
    if member.done is None:
        return str(member.problem)
    raised = [(o.index, o.error) for o in results.published_errors(member.done) if o.error is not None]
    return f"cell {raised[0][0]} raised {raised[0][1].ename}: {raised[0][1].evalue}" if raised else ""
