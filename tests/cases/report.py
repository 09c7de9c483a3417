"""The table of the cases: equal, refused, and how much of the parallelism is kept. `python -m tests.cases.report [--full]`"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from .loader import Case, Pair


def table(found: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the lines of the table from what the tests recorded; none if they recorded nothing of the cases."""
    states: dict[str, Counter[str]] = {}
    counts: dict[str, Counter[str]] = {}
    for properties in found:
        for how, state in properties.items():
            if how.startswith("run "):
                states.setdefault(how[4:], Counter())[str(state)] += 1
            elif how.startswith("order "):
                counts.setdefault(how[6:], Counter()).update(_numbers(str(state)))
    lines = []
    if states:
        lines.append(f"{'configuration':32} {'runs':>5} {'equal':>6} {'different':>9} {'refused':>8}")
        total: Counter[str] = sum(states.values(), Counter())
        for how, count in [*sorted(states.items()), ("all", total)]:
            lines.append(
                f"{how:32} {count.total():5} {count['equal']:6} {count['different']:9} {count['refused']:8}"
            )
    for mode, count in sorted(counts.items()):
        lines.append(
            f"order, {mode}: {count['kept']} of {count['required']} required pairs kept, "
            f"{count['free']} of {count['independent']} independent pairs left free, "
            f"{count['surely']} of {count['surely_all']} of those that the text shows"
        )
    return lines


def order(case: Case, edges: frozenset[Pair]) -> str:
    """Return how many of the pairs that must be ordered are so, and how many of the independent ones are not."""
    return (
        f"required={len(case.required)} kept={len(case.required & edges)} "
        f"independent={len(case.independent)} free={len(case.independent - edges)} "
        f"surely_all={len(case.free)} surely={len(case.free - edges)}"
    )


def _numbers(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in (word.split("=") for word in text.split())}


def main() -> int:
    """Run the fidelity tests and show the table only."""
    folder = Path(__file__).parent
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "--tb=no",
        str(folder / "test_fidelity.py"),
    ]
    done = subprocess.run([*command, *sys.argv[1:]], capture_output=True, text=True, cwd=folder.parent.parent)
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip("= ") == "cases"), 0)
    sys.stdout.write("\n".join(lines[start:]) + "\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
