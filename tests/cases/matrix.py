"""Many rounds of the cases in one sitting, which may be cut short and taken up again.

`python -m tests.cases.matrix FOLDER [--rounds 0-5] [--processes 2] [--only TEXT]`

Round n runs each case in the configuration that JUP2KUB_SALT=n chooses; as many rounds as there are configurations are
the full matrix. Sequential answers are worked out once for all rounds and kept below FOLDER, by the text of the case.
Each result is a line of FOLDER/results.jsonl; what stands there for the same case and program is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jup2kub

from .harness import CONFIGURATIONS, Configuration, Result, cell_edges, number, run
from .loader import Case, load_cases, to_notebook
from .report import order, table

SECONDS = 240
"""After which a case counts as refused."""
Line = dict[str, Any]


def program() -> str:
    """Return a digest of the program's own files."""
    root = Path(jup2kub.__file__).parent
    kept = sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return _digest([[str(p.relative_to(root)), _digest(p.read_bytes().hex())] for p in kept])


def key(case: Case, how: Configuration, of: str) -> str:
    """Return the name of a result: the case's text, the configuration and the program decide it."""
    return _digest([to_notebook(case), case.files, str(how), of])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def rounds(text: str) -> list[int]:
    """Return the numbers in a text such as `0-3,7`. Raises ValueError where it is no such text."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def known(path: Path) -> dict[str, Line]:
    """Return the lines of a file of results by key; a last line that is torn counts as absent."""
    lines: dict[str, Line] = {}
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        lines[line["key"]] = line
    return lines


def play(case: Case, how: Configuration) -> Line:
    """Run one case in one configuration; return its line without the key."""
    start = time.monotonic()
    properties: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(SECONDS)
        try:
            results = run(case, how, folder)
            if how.mode == "hybrid" and all(r.state == "equal" for r in results):
                edges = cell_edges(folder / "project-1" / f"{case.name}.ipynb", folder / "store", "hybrid")
                properties["order hybrid"] = order(case, edges)
        except Exception as error:
            results = [Result("refused", f"{type(error).__name__}: {error}")]
        finally:
            signal.alarm(0)
    worst = max(results, key=lambda r: ("equal", "refused", "different").index(r.state))
    properties[f"run {how}"] = worst.state
    seconds = round(time.monotonic() - start, 2)
    return {"case": case.name, "text": worst.text, "seconds": seconds, "properties": properties}


def _late(signum: int, frame: object) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def wanted(numbers: Iterable[int], only: str) -> Iterator[tuple[Case, Configuration]]:
    """Yield what the rounds are made of, round by round."""
    for turn in numbers:
        for case in load_cases():
            if only in f"{case.theme}/{case.name}":
                yield case, CONFIGURATIONS[(number(case) + turn) % len(CONFIGURATIONS)]


def sit(folder: Path, numbers: list[int], processes: int, only: str) -> list[Line]:
    """Run what is not known yet; return the lines of all that was wanted. Results are written as they come."""
    os.environ["JUP2KUB_REFERENCES"] = str(folder / "references")
    path, of = folder / "results.jsonl", program()
    done = known(path)
    todo = {key(case, how, of): (case, how) for case, how in wanted(numbers, only)}
    context = get_context("spawn")
    with path.open("a") as out, ProcessPoolExecutor(processes, context) as pool:
        running = {pool.submit(play, *what): name for name, what in todo.items() if name not in done}
        for future in as_completed(running):
            line = {"key": running[future], **future.result()}
            done[line["key"]] = line
            out.write(json.dumps(line) + "\n")
            out.flush()
    return [done[name] for name in todo]


def main() -> int:
    """Run the rounds, show the table and whatever was not equal; 1 if there was anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases.matrix", description=__doc__)
    parser.add_argument("folder", type=Path, help="where results and sequential answers are kept")
    parser.add_argument("--rounds", type=rounds, default=list(range(len(CONFIGURATIONS))))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose `file/name` contains this")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    lines = sit(options.folder, options.rounds, options.processes, options.only)
    wrong = [line for line in lines if "equal" not in line["properties"].values()]
    for line in wrong:
        sys.stdout.write(f"{line['case']} {line['properties']}\n{line['text']}\n")
    sys.stdout.write("\n".join(table(line["properties"] for line in lines)) + "\n")
    sys.stdout.write(f"{sum(line['seconds'] for line in lines):.0f} s in {len(lines)} results\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
