"""Loops whose iterations run in other agents: the answer of one process, whoever is killed, and nothing done for nothing."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pytest

from jup2kub.compose import Execution, Settings

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
SECONDS = 150.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    marks(tmp_path).mkdir(parents=True)
    # A busy machine is no reason to run anything twice.
    with Lab(tmp_path / "lab", silence=10.0) as made:
        yield made
    shutil.rmtree(marks(tmp_path), ignore_errors=True)


def marks(tmp_path: Path) -> Path:
    """A folder of devices, of which nobody takes what is written there for the notebook's files."""
    return Path("/dev/shm/jup2kub-tests") / f"{os.getpid()}-{tmp_path.name}"


def settings(tmp_path: Path, *cells: str) -> Settings:
    (tmp_path / "project").mkdir()
    path = tmp_path / "project" / "nb.ipynb"
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(document, path)
    return Settings(path, workers=3, fork=False)


def work(tmp_path: Path, count: int, seconds: float) -> str:
    """A cell that defines `f`, which leaves a mark that nobody hears of each time it begins and ends."""
    return (
        f"import os, threading, time\nn, marks = {count}, {str(marks(tmp_path))!r}\n"
        "base = [i * i for i in range(7)]\n"
        "def f(x):\n"
        "    mark = f'{marks}/{x}.{threading.get_native_id()}.{time.time_ns()}'\n"
        "    open(mark, 'w').close()\n"
        f"    time.sleep({seconds})\n"
        "    open(mark + '.end', 'w').close()\n"
        "    return 2 * x + base[x % 7]"
    )


LOOP = "#| map\nout = []\nfor x in range(n):\n    print('item', x)\n    out.append(f(x))"
CHECK = "print(len(out), out == [2 * x + base[x % 7] for x in range(n)])"


def texts(done: Execution) -> list[str]:
    found = sorted(done.outcomes.items())
    return ["".join(str(o.get("text", "")) for o in outcome.outputs) for _, outcome in found]


def runs(tmp_path: Path) -> Counter[int]:
    """How often each iteration began."""
    found = marks(tmp_path).iterdir()
    return Counter(int(m.name.split(".")[0]) for m in found if m.suffix != ".end")


def again(tmp_path: Path, count: int) -> list[int]:
    """Iterations that ran more than once. The last but one leaves the names of the last, which runs in place, so it may."""
    found = runs(tmp_path)
    assert set(found) == set(range(count))
    return sorted(x for x, n in found.items() if n > 1 and x != count - 2)


def ends(tmp_path: Path) -> int:
    """How many iterations have ended by now."""
    return sum(m.suffix == ".end" for m in marks(tmp_path).iterdir())


def until(tmp_path: Path, count: int, seconds: float = 60.0) -> None:
    """Wait until so many iterations have ended."""
    limit = time.monotonic() + seconds
    while ends(tmp_path) < count:
        assert time.monotonic() < limit, f"{ends(tmp_path)} of {count} iterations in {seconds:g} s"
        time.sleep(0.05)


def processes(tmp_path: Path) -> set[int]:
    """Processes that have run an iteration."""
    return {int(m.name.split(".")[1]) for m in marks(tmp_path).iterdir()}


def notes(lab: Lab) -> str:
    return "\n".join(t.text for t in lab.told if t.kind in ("note", "retry"))


def whole(count: int) -> list[str]:
    """What a run of `LOOP` and `CHECK` shows."""
    return ["", "".join(f"item {x}\n" for x in range(count)), f"{count} True\n"]


@pytest.mark.parametrize(
    "loop",
    [
        LOOP,
        "#| map\nout = [f(x) for x in range(n)]",
        "#| map\ndef study(k):\n    made = {}\n    for x in range(k):\n        made[x] = f(x)\n    return made\n"
        "out = list(study(n).values())",
    ],
    ids=["top level", "comprehension", "in a function"],
)
def test_iterations_run_in_all_agents_and_come_back_in_order(lab: Lab, tmp_path: Path, loop: str) -> None:
    lab.hire(3)
    done = lab.run(settings(tmp_path, work(tmp_path, 80, 0.1), loop, CHECK))
    assert texts(done)[2] == "80 True\n"
    assert texts(done)[1] in ("", whole(80)[1])
    assert again(tmp_path, 80) == []
    assert len(processes(tmp_path)) >= 4  # the main line's own, and one in each agent
    assert "goes to other agents" in notes(lab)
    assert done.outcomes[1].loops[0]["why"] == ""


def test_agents_that_are_killed_cost_only_what_they_had_under_way(lab: Lab, tmp_path: Path) -> None:
    chance = random.Random(5)
    lab.hire(4)
    future = lab.begin(settings(tmp_path, work(tmp_path, 240, 0.1), LOOP, CHECK))
    for reached in (40, 90, 140):
        until(tmp_path, reached)
        alive = [i for i, a in enumerate(lab.agents) if a.poll() is None]
        others = [i for i in alive if i != lab.agent_of("main")]
        lab.kill(chance.choice(others))
        lab.hire(1)
    assert texts(future.result(SECONDS)) == whole(240)
    assert len(again(tmp_path, 240)) <= 3 * 25  # one chunk for each kill


def test_a_main_line_that_is_killed_finds_the_finished_chunks(lab: Lab, tmp_path: Path) -> None:
    for name in "abcd":
        lab.hire(1, HOSTNAME=name)  # as pods have it
    future = lab.begin(settings(tmp_path, work(tmp_path, 200, 0.1), LOOP, CHECK))
    until(tmp_path, 100)
    lab.kill(lab.agent_of("main"))
    assert texts(future.result(SECONDS)) == whole(200)
    assert 0 in again(tmp_path, 200)  # where it measures, before it sends the rest away
    assert len(again(tmp_path, 200)) <= 1 + 25
    assert "are done already" in notes(lab)


def test_a_server_that_is_killed_and_starts_again(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    future = lab.begin(settings(tmp_path, work(tmp_path, 160, 0.1), LOOP, CHECK))
    until(tmp_path, 60)
    lab.server.kill()
    lab.server.wait()
    lab.serve()
    assert texts(future.result(SECONDS)) == whole(160)
    assert sum(runs(tmp_path).values()) <= 160 + 3 * 25


def test_files_that_iterations_write_come_back_with_them(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    loop = (
        "#| map\nos.makedirs\nfor x in range(n):\n"
        "    with open(f'part-{x}.txt', 'w') as file:\n        file.write(str(f(x)))"
    )
    look = "print(sorted(os.listdir('.')) == sorted(['nb.ipynb', *(f'part-{x}.txt' for x in range(n))]))"
    read = "print(sum(int(open(f'part-{x}.txt').read()) for x in range(n)))"
    done = lab.run(settings(tmp_path, work(tmp_path, 60, 0.1), loop, look, read))
    assert texts(done)[3] == f"{sum(2 * x + (x % 7) ** 2 for x in range(60))}\n"
    assert "goes to other agents" in notes(lab)
    assert {f"part-{x}.txt" for x in range(60)} <= {p.name for p in (tmp_path / "project").iterdir()}


def test_an_iteration_that_raises_leaves_what_those_before_it_left(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    loop = LOOP.replace("    out.append", "    assert x != 37, 'enough'\n    out.append")
    done = lab.run(settings(tmp_path, work(tmp_path, 80, 0.1), loop, CHECK))
    assert done.outcomes[1].status == "error"
    assert done.outcomes[1].error is not None
    assert done.outcomes[1].error.evalue == "enough"
    assert texts(done)[1].startswith("".join(f"item {x}\n" for x in range(38)))
    assert "item 38\n" not in texts(done)[1]


def test_iterations_that_are_not_independent_after_all_run_in_order(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    hidden = "class Memory:\n    seen = []\ndef g(x):\n    Memory.seen.append(x)\n    return len(Memory.seen)"
    loop = "#| map\nout = []\nfor x in range(n):\n    f(x)\n    out.append(g(x) if x >= 20 else 0)"
    done = lab.run(
        settings(
            tmp_path, work(tmp_path, 60, 0.1), hidden, loop, "print(out == [0] * 20 + list(range(1, 41)))"
        )
    )
    assert texts(done)[3] == "True\n"
    assert "J2K368" in notes(lab)


def test_a_loop_over_what_cannot_be_had_elsewhere_stays(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    cells = (work(tmp_path, 60, 0.1), "import threading\nlock = threading.Lock()",
             "#| map\nout = []\nfor x in range(n):\n    with lock:\n        out.append(f(x))", CHECK)  # fmt: skip
    done = lab.run(settings(tmp_path, *cells))
    assert texts(done)[3] == "60 True\n"
    assert "stays in this pod" in notes(lab)


def test_values_that_were_dear_are_loaded_where_they_are_needed(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    dear = "import time\ntime.sleep(0.7)\nmade = [time.time_ns(), {'a': list(range(1000))}]"
    loop = "#| map\nout = []\nfor x in range(n):\n    f(x)\n    out.append(made[0] + made[1]['a'][x])"
    check = "print(out == [made[0] + x for x in range(n)])"
    done = lab.run(settings(tmp_path, work(tmp_path, 60, 0.1), dear, loop, check))
    assert texts(done)[3] == "True\n"
    assert "goes to other agents" in notes(lab)
    assert again(tmp_path, 60) == []


def steps(tmp_path: Path) -> Sequence[str]:
    left = LOOP.replace("#| map", "#| map\n#| step: left").replace("out", "left")
    right = LOOP.replace("#| map", "#| map\n#| step: right").replace("out", "right")
    return (work(tmp_path, 60, 0.1), left, right, "out = left\nprint(left == right)", CHECK)


def test_the_loop_of_a_step_goes_to_others_too(lab: Lab, tmp_path: Path) -> None:
    lab.hire(4)
    done = lab.run(settings(tmp_path, *steps(tmp_path)))
    assert texts(done)[3:] == ["True\n", "60 True\n"]
    assert notes(lab).count("goes to other agents") == 2
