"""What is measured, and the goal of each: cases (a) to (g)."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import notebooks
from benchmarks.measure import BIN, Broken, Contender, Times, call, load

SWEEP = tuple(range(1, 9))
"""The eight parameter sets of the sweep."""
VALUES = Path(__file__).with_name("values.py")


@dataclass(frozen=True)
class Goal:
    """One promise."""

    text: str
    value: Callable[[Times], float]
    bound: float
    at_least: bool
    """True: the value must be `bound` or more; False: `bound` or less."""
    unit: str = "×"

    def met(self, times: Times) -> bool:
        """Whether the promise holds."""
        value = self.value(times)
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Case:
    """Contenders that do the same work, and what is promised of them."""

    key: str
    title: str
    contenders: Sequence[Contender]
    goals: Sequence[Goal]
    parallel: bool = False
    """Whether two processes are busy at once: then what the machine gives to two is measured in the same minute."""
    most: int = 5
    """Repetitions that are enough, however many are asked for: it takes minutes, or is the best of several anyway."""


def tool(name: str) -> str:
    """Return the path of a command that is installed beside this interpreter."""
    return str(BIN / name)


def nbclient(cells: Sequence[str], **more: Any) -> Contender:
    """Return nbclient's own command."""
    return Contender(
        "nbclient",
        lambda _: [[tool("jupyter-execute"), "nb.ipynb", "--output=out"]],
        lambda folder: notebooks.write(folder / "nb.ipynb", notebooks.notebook(cells)),
        **more,
    )


def papermill(cells: Sequence[str], **more: Any) -> Contender:
    """Return papermill's command."""
    return Contender(
        "papermill",
        lambda _: [[tool("papermill"), "--no-progress-bar", "nb.ipynb", "out.ipynb"]],
        lambda folder: notebooks.write(folder / "nb.ipynb", notebooks.notebook(cells)),
        **more,
    )


def jup2kub(cells: Sequence[str], *options: str, name: str = "jup2kub", **more: Any) -> Contender:
    """Return ours, with a store that knows nothing."""
    return Contender(
        name,
        lambda _: [[tool("jup2kub"), "run", "nb.ipynb", "-o", "out.ipynb", *options]],
        lambda folder: notebooks.write(folder / "nb.ipynb", notebooks.notebook(cells)),
        **more,
    )


def ratio(slow: str, fast: str = "jup2kub") -> Callable[[Times], float]:
    """Return how many times longer `slow` takes than `fast`."""
    return lambda times: times.of(slow) / times.of(fast)


def spans(folder: Path) -> list[tuple[float, float]]:
    """Return start and end of each code cell of `out.ipynb`, in seconds, as both tools record them."""
    found = []
    for cell in load(folder / "out.ipynb")["cells"]:
        times = cell["metadata"].get("execution")
        if cell["cell_type"] == "code" and times:
            ends = (times["iopub.execute_input"], times["shell.execute_reply"])
            start, end = (datetime.datetime.fromisoformat(t).timestamp() for t in ends)
            found.append((start, end))
    return found


def branches(second: int) -> Case:
    """(a) Independent branches, on the first run."""
    cells = notebooks.branches(second)
    return Case(
        "a",
        "two independent branches of 4 s, first run",
        [nbclient(cells), jup2kub(cells)],
        [Goal("faster than nbclient", ratio("nbclient"), 1.8, True)],
        parallel=True,
    )


def serial(second: int) -> Case:
    """(b) Nothing to gain: ten cells in a row."""
    cells = notebooks.serial(second)
    return Case(
        "b1",
        "ten cells in a row",
        [nbclient(cells), jup2kub(cells)],
        [Goal("of nbclient's time", ratio("jup2kub", "nbclient"), 1.05, False)],
    )


def trivial(second: int) -> Case:
    """(b) Nothing to do at all."""
    cells = notebooks.trivial()
    return Case(
        "b2",
        "three trivial cells",
        [nbclient(cells), papermill(cells), jup2kub(cells)],
        [Goal("of papermill's time", ratio("jup2kub", "papermill"), 1.0, False)],
    )


def fork_gap(folder: Path) -> Mapping[str, float]:
    """Seconds from the end of the cell that makes the frame to the start of the later of its two users."""
    cells = spans(folder)
    return {"gap": max(cells[2][0], cells[3][0]) - cells[1][1]}


def frame(second: int) -> Case:
    """(c) A big value and two users of it."""
    cells = notebooks.frame(second)
    return Case(
        "c1",
        "1 GB frame, two heavy users (3 s each)",
        [nbclient(cells), jup2kub(cells, extract=fork_gap)],
        [
            Goal("added by the fork", lambda t: t.more("jup2kub", "gap"), 0.1, False, "s"),
            Goal("faster than nbclient", ratio("nbclient"), 1.0, True),
        ],
        parallel=True,
    )


def through_store(second: int) -> Case:
    """(c) The same frame through a file of the store."""
    measured = Contender(
        "values",
        lambda folder: [[sys.executable, str(VALUES), str(folder)]],
        lambda _: None,
        outputs=(),
        extract=lambda folder: load(folder / "values.json"),
    )
    return Case(
        "c2",
        "1 GB frame through the store (warm disk)",
        [measured],
        [
            Goal("to load", lambda t: t.more("values", "load"), 0.05, False, "s"),
            Goal("written and committed, to be kept", lambda t: t.more("values", "rate"), 1.0, True, "GB/s"),
            Goal("the same, to be read at once", lambda t: t.more("values", "soon"), 1.0, True, "GB/s"),
            Goal("of the processor for each GB kept", lambda t: t.more("values", "cpu"), 1.0, False, "s"),
            Goal(
                "kept, of the slower of a bare write and one core's SHA-256",
                lambda t: t.more("values", "rate") / min(t.more("values", n) for n in ("bare", "digest")),
                0.8,
                True,
            ),
        ],
        most=3,
    )


def loop(second: int) -> Case:
    """(c) A loop at the top level, traced."""
    cells = notebooks.loop(second)

    def of_the_cell(folder: Path) -> Mapping[str, float]:
        start, end = spans(folder)[1]
        return {"cell": end - start}

    return Case(
        "c3",
        "a loop at the top level, traced (the cell alone)",
        [nbclient(cells, extract=of_the_cell), jup2kub(cells, extract=of_the_cell)],
        [
            Goal(
                "of the cell's time in nbclient",
                lambda t: t.more("jup2kub", "cell") / t.more("nbclient", "cell"),
                1.05,
                False,
            )
        ],
    )


def edited(second: int) -> Case:
    """(d) The second run, after the last of ten cells was edited."""
    before, after = notebooks.chain(second), notebooks.chain(second, last=2)

    def run_then_edit(folder: Path) -> None:
        # the first run, which is not timed, happens once: each repetition begins with a copy of what it has left
        first = folder.with_name("first")
        if not first.exists():
            first.mkdir()
            notebooks.write(first / "nb.ipynb", notebooks.notebook(before))
            call([tool("jup2kub"), "run", "nb.ipynb", "-o", "out.ipynb"], first)
        shutil.copytree(first, folder, dirs_exist_ok=True)
        notebooks.write(folder / "nb.ipynb", notebooks.notebook(after))

    again = Contender(
        "jup2kub", lambda _: [[tool("jup2kub"), "run", "nb.ipynb", "-o", "out.ipynb"]], run_then_edit
    )
    return Case(
        "d",
        "second run, after editing the last of ten cells of 1 s",
        [papermill(after), again],
        [Goal("faster than papermill", ratio("papermill"), 8.0, True)],
    )


def calls(second: int) -> Case:
    """(e) A loop of heavy calls at the top level."""
    cells = notebooks.calls(second)
    return Case(
        "e1",
        "64 calls of 0.2 s in a loop, first run",
        [nbclient(cells), jup2kub(cells)],
        [Goal("faster than nbclient", ratio("nbclient"), 1.7, True)],
        parallel=True,
    )


def calls_inside(second: int) -> Case:
    """(e) The same inside a function."""
    cells = notebooks.calls_inside(second)
    return Case(
        "e2",
        "the same loop inside a function, first run",
        [nbclient(cells), jup2kub(cells)],
        [Goal("faster than nbclient", ratio("nbclient"), 1.7, True)],
        parallel=True,
    )


def sweep(second: int) -> Case:
    """(e) Eight parameter sets that share half of the work."""
    cells, number = notebooks.sweep(second)

    def prepare(folder: Path) -> None:
        (folder / "out").mkdir()
        notebooks.write(folder / "nb.ipynb", notebooks.notebook(cells, parameters=number))

    def eight(_: Path) -> list[list[str]]:
        start = [tool("papermill"), "--no-progress-bar", "nb.ipynb"]
        return [[*start, f"out/{n:03}.ipynb", "-p", "alpha", str(a)] for n, a in enumerate(SWEEP)]

    values = ",".join(map(str, SWEEP))
    ours = [tool("jup2kub"), "run", "nb.ipynb", "-p", f"alpha={values}", "-o", "out"]
    names = tuple(f"out/{n:03}.ipynb" for n in range(len(SWEEP)))
    return Case(
        "e3",
        "a sweep over 8 sets, the first 4 s of 8 shared",
        [
            Contender("papermill", eight, prepare, names),
            Contender("jup2kub", lambda _: [ours], prepare, names),
        ],
        [Goal("faster than 8 runs of papermill", ratio("papermill"), 2.5, True)],
        parallel=True,
        most=3,
    )


def imports(second: int) -> Case:
    """(f) Big imports, small work."""
    cells = notebooks.imports()
    return Case(
        "f",
        "big imports (pandas, scikit-learn, matplotlib), nothing to gain",
        [nbclient(cells), jup2kub(cells)],
        [Goal("of nbclient's time", ratio("jup2kub", "nbclient"), 1.1, False)],
    )


def start(second: int) -> Case:
    """(g) The start of the program itself."""

    def once(name: str, *command: str) -> Contender:
        return Contender(name, lambda _: [command], lambda _: None, outputs=())

    return Case(
        "g",
        "the start of the program",
        [
            once("import", sys.executable, "-c", "import jup2kub"),
            once("help", tool("jup2kub"), "--help"),
        ],
        [
            Goal("`import jup2kub`", lambda t: t.of("import"), 0.3, False, "s"),
            Goal("`jup2kub --help`", lambda t: t.of("help"), 0.3, False, "s"),
        ],
    )


CASES: tuple[Callable[[int], Case], ...] = (
    branches,
    serial,
    trivial,
    frame,
    through_store,
    loop,
    edited,
    calls,
    calls_inside,
    sweep,
    imports,
    start,
)
"""Each takes the rounds of `notebooks.BURN` that this machine does in a second."""


def chosen(second: int, keys: Sequence[str]) -> list[Case]:
    """Return the cases whose key begins with one of `keys` (none: all). Raises Broken for a key of no case."""
    cases = [make(second) for make in CASES]
    unknown = [k for k in keys if not any(c.key.startswith(k) for c in cases)]
    if unknown:
        raise Broken(f"no such case: {', '.join(unknown)}; there are {', '.join(c.key for c in cases)}")
    return [c for c in cases if not keys or c.key.startswith(tuple(keys))]
