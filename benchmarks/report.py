"""The tables, as Markdown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.measure import Times
from benchmarks.real import Row

VALIDATION_GOAL = 0.05


def speed(measured: Sequence[tuple[Case, Times]]) -> str:
    """Return the table of the cases, a line for each goal."""
    lines = [
        "| | what | times (median ± half the spread; of the processor) | promise | measured | |",
        "|---|---|---|---|---|---|",
    ]
    for case, times in measured:
        text = ", ".join(
            f"{c.name} {times.of(c.name):.2f} ± {times.spread(c.name):.2f} s ({times.cpu(c.name):.1f})"
            for c in case.contenders
        )
        text += machine_then(times)
        for number, goal in enumerate(case.goals):
            sign = "≥" if goal.at_least else "≤"
            verdict = "met" if goal.met(times) else "**not met**"
            if not times.same:
                verdict = "**not the same outputs**"
            left = f"{case.key} | {case.title} | {text}" if number == 0 else " | | "
            promise = f"{goal.text} {sign} {goal.bound:g} {goal.unit}"
            lines.append(f"| {left} | {promise} | {goal.value(times):.2f} {goal.unit} | {verdict} |")
    return "\n".join(lines)


def machine_then(times: Times) -> str:
    """Return what the machine gave to two processes in the minutes of a case, or nothing if it was not measured."""
    if times.pair is None:
        return ""
    low, high = min(times.pairs), max(times.pairs)
    return (
        f"; two busy processes at once took {times.pair:.2f} × one ({low:.2f} to {high:.2f}): "
        f"at most {2 / times.pair:.2f} × faster"
    )


def real(rows: Sequence[Row]) -> str:
    """Return the table of the real notebooks, and what it says."""
    lines = [
        "| notebook | code cells | same answer | nbclient | first run | speed-up | with a profile | speed-up | off-loaded | between cells | validation |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        same = "yes" if row.equal else f"**no: {row.counts.get('different', 0)} differ**"
        own = row.counts.get("nondeterministic", 0)
        same += f" ({own} vary by themselves)" if own else ""
        lines.append(
            f"| {row.name} | {row.cells} | {same} | {row.nbclient:.1f} s | {row.first:.1f} s | "
            f"{row.nbclient / row.first:.2f}× | {row.learned:.1f} s | {row.nbclient / row.learned:.2f}× | "
            f"{row.steps} | {row.between:.1%} | {row.validation:.1%} |"
        )
    if not rows:
        return "No notebooks were measured."
    good = sum(r.equal for r in rows)
    cheap = sum(r.validation < VALIDATION_GOAL for r in rows)
    middle = statistics.median(r.nbclient / r.learned for r in rows)
    lines += [
        "",
        f"{good} of {len(rows)} give the same answer; median speed-up {middle:.2f}× with a profile; "
        f"{cheap} of {len(rows)} spend less than {VALIDATION_GOAL:.0%} of a serial run's processor time on validation. "
        "Between cells there is all other bookkeeping too: outputs on their way, what is saved, the plan.",
    ]
    return "\n".join(lines)


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Return one line about this machine and the tools."""
    tools = ", ".join(f"{name} {version(name)}" for name in ("jup2kub", "nbclient", "papermill", "ipykernel"))
    return f"{platform.system()} {platform.machine()}, {cores()} cores, Python {platform.python_version()}; {tools}."


def page(
    repetitions: int,
    load: float,
    minutes: float,
    measured: Sequence[tuple[Case, Times]],
    rows: Sequence[Row],
    broken: Sequence[str] = (),
) -> str:
    """Return the whole page. `load`: the machine's load average before anything was run; `minutes`: what it all took."""
    return f"""# Measured

Written by `make bench`; do not edit. {machine()} Load before the start: {load:.1f}.
It took {minutes:.0f} minutes.

Every time is that of a whole process as a user starts it. The tools take turns, in one session, each from a fresh
folder and (if nothing else is said) a store that knows nothing; {repetitions} repetitions (of the longest cases at
most three), medians. In brackets the seconds of the processor, which depend less on what else runs. Ratios hold for
this machine; run it on yours. Where work runs in parallel, the harness measures in the same minute how long two busy
processes at once take against one alone: on a machine that shares its cores that is more than 1, and then no tool can be
faster than 2 by that number. What a notebook says is compared between the tools in every repetition.

## Speed

{speed(measured)}

## Notebooks as scientists write them

{real(rows)}
{broken_ones(broken)}"""


def broken_ones(broken: Sequence[str]) -> str:
    """Return a section on what could not be measured, or nothing."""
    if not broken:
        return ""
    return "\n## Broken: no time was taken\n\n" + "".join(f"- {text.splitlines()[0]}\n" for text in broken)


def save(path: Path, text: str) -> None:
    """Write the page."""
    path.write_text(text, encoding="utf-8")
