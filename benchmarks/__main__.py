"""`python -m benchmarks`: run the cases, print the tables, write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cases, notebooks, real, report
from benchmarks.measure import Broken, Times, repeat

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure against nbclient and papermill."
    )
    parser.add_argument("--quick", action="store_true", help="one repetition; writes nothing")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="KEY", help="cases: a, b1, c, … or `real`; writes nothing"
    )
    parser.add_argument(
        "--notebooks", nargs="+", default=[], metavar="NAME", help="of the real ones, only these"
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="repetitions (default: 5)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="times the work, to try the harness; writes nothing",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the page there, whatever was chosen")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 1 if a promise is not kept."""
    options = parser().parse_args(argv)
    repetitions = 1 if options.quick else options.repeat
    load, began = os.getloadavg()[0], time.monotonic()
    if load > 0.5:
        print(f"the machine is busy (load {load:.1f}): the times mean little", file=sys.stderr)
    keys = [k for k in options.only if k != "real"]
    measured: list[tuple[cases.Case, Times]] = []
    rows: list[real.Row] = []
    broken: list[str] = []
    with tempfile.TemporaryDirectory(prefix="jup2kub-bench-") as name:
        try:
            if keys or not options.only:
                measured, broken = speed(keys, Path(name), repetitions, options.scale)
            if "real" in options.only or not options.only:
                rows, more = real.measure(Path(name) / "real", options.notebooks)
                broken += more
        except Broken as error:
            broken.append(str(error))
    minutes = (time.monotonic() - began) / 60
    print(f"it took {minutes:.1f} minutes", file=sys.stderr)
    print(report.speed(measured) if measured else "", report.real(rows) if rows else "", sep="\n\n")
    for text in broken:
        print(f"broken: {text}", file=sys.stderr)
    partial = options.quick or options.only or options.notebooks or options.scale != 1
    target = options.out or (None if partial else PAGE)
    if target:
        report.save(target, report.page(repetitions, load, minutes, measured, rows, broken))
    kept = all(t.same and g.met(t) for c, t in measured for g in c.goals) and all(r.equal for r in rows)
    return 0 if kept and not broken else 1


def speed(
    keys: Sequence[str], folder: Path, repetitions: int, scale: float
) -> tuple[list[tuple[cases.Case, Times]], list[str]]:
    """Measure the chosen cases, and say how each went at once; return the times, and what was broken."""
    second = max(5, round(scale * notebooks.rounds_per_second()))
    measured: list[tuple[cases.Case, Times]] = []
    broken: list[str] = []
    for case in cases.chosen(second, keys):
        try:
            busy = notebooks.busy(second) if case.parallel else ()
            times = repeat(case.contenders, folder / case.key, min(repetitions, case.most), busy)
        except Broken as error:
            broken.append(f"{case.key}: {error}")
            continue
        measured.append((case, times))
        verdict = "met" if times.same and all(g.met(times) for g in case.goals) else "NOT MET"
        said = ", ".join(f"{c.name} {times.of(c.name):.2f} s" for c in case.contenders) + report.machine_then(
            times
        )
        print(f"{case.key}: {case.title}: {said}: {verdict}", file=sys.stderr, flush=True)
    return measured, broken


if __name__ == "__main__":
    raise SystemExit(main())
