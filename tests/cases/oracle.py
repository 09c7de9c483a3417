"""Proves by running that the order written in a case is enough, and that no edge of it could be left out.

For each cell: only its ancestors are run, then the cell; its text, its error and every variable and file it changes must
be those of the whole notebook. Then each edge that no other path implies is left out once: something must change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .loader import Case, Pair, closure

Done = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What running told about a case; all three empty = the case is right."""

    raised: tuple[str, ...] = ()
    """Cells that raise without the tag that allows it."""
    insufficient: tuple[str, ...] = ()
    """Cells whose ancestors are not enough, and what differed."""
    superfluous: tuple[Pair, ...] = ()
    """Edges whose removal changes nothing."""

    @property
    def right(self) -> bool:
        """Whether nothing was found."""
        return not (self.raised or self.insufficient or self.superfluous)


class Replayer:
    """A process that runs cells in forks; one for many cases."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "MPLBACKEND": "agg",
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        script = Path(__file__).with_name("replay.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def runs(self, case: Case, runs: list[list[int]]) -> list[Any]:
        """Return for every list of cells what each of them did, or {"crash": text}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"cells": case.cells, "files": case.files, "runs": runs}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def judge(case: Case, replayer: Replayer) -> Verdict:
    """Run the case whole, by ancestors, and with each needed edge left out."""
    count = len(case.cells)
    slices = [[*case.ancestors(j), j] for j in range(count)]
    edges = sorted(e for e in case.needs if e not in closure(case.needs - {e}))
    broken = [[*case.ancestors(b, without=(a, b)), b] for a, b in edges]
    whole, *rest = _distinct_runs(case, replayer, [list(range(count)), *slices, *broken])
    if isinstance(whole, dict):
        return Verdict(raised=(whole["crash"],))
    allowed = {i for i, tags in case.tags.items() if "raises-exception" in tags}
    raised = [f"cell {d['cell']}: {d['error']}" for d in whole if d["error"] and d["cell"] not in allowed]
    insufficient = [
        f"cell {j} after {slices[j][:-1]}: {found}"
        for j in range(count)
        if (found := difference(whole[j], rest[j]))
    ]
    superfluous = [
        edge for edge, run in zip(edges, rest[count:], strict=True) if not difference(whole[edge[1]], run)
    ]
    return Verdict(tuple(raised), tuple(insufficient), tuple(superfluous))


def _distinct_runs(case: Case, replayer: Replayer, runs: list[list[int]]) -> list[Any]:
    """Run each different list of cells once; a list that begins another one is a part of that run."""
    longest: list[list[int]] = []
    for cells in sorted(runs, key=len, reverse=True):
        if not any(other[: len(cells)] == cells for other in longest):
            longest.append(cells)
    done = replayer.runs(case, longest)

    def of(cells: list[int]) -> Any:
        for other, result in zip(longest, done, strict=True):
            if other[: len(cells)] == cells:
                return result if isinstance(result, dict) else result[: len(cells)]
        raise LookupError(cells)

    return [of(cells) for cells in runs]


def difference(expected: Done, run: Any) -> str:
    """Return in words how the last cell of `run` differs from what it did in the whole notebook; empty = it does not."""
    if isinstance(run, dict):
        return str(run["crash"])
    got = run[-1]
    for what in ("error", "stdout"):
        if expected[what] != got[what]:
            return f"{what} {got[what]!r} instead of {expected[what]!r}"
    for name, value in expected["changed"].items():
        if got["names"].get(name) != value:
            return f"variable {name}"
    if expected["files"] != got["files"]:
        return f"files {sorted(got['files'])} instead of {sorted(expected['files'])}"
    return ""
