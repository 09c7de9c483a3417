"""What a run survives when server and agents are processes of their own: nothing is lost, nothing takes effect twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pytest

from jup2kub.compose import Execution, Settings

from .lab import Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
SECONDS = 120.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as made:
        yield made


def settings(folder: Path, cells: Sequence[str]) -> Settings:
    folder.mkdir()
    path = folder / "nb.ipynb"
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(document, path)
    return Settings(path, workers=3, fork=False)


def waits(gate: Path, name: str, step: bool = True) -> str:
    """A cell that ends when the gate of its name is open."""
    return (f"#| step: {name}\n" if step else "") + (
        f"while not os.path.exists({str(gate)!r} + '.{name}'):\n    time.sleep(0.01)\n"
        f"{name} = '{name}' * n\nprint({name})"
    )


def open_gate(gate: Path, name: str) -> None:
    Path(f"{gate}.{name}").touch()


def texts(done: Execution) -> list[str]:
    found = sorted(done.outcomes.items())
    return ["".join(str(o.get("text", "")) for o in outcome.outputs) for _, outcome in found]


def starts(lab: Lab, cell: int) -> int:
    return sum(t.kind == "start" and t.cell == cell for t in lab.told)


CELLS = ("import os, time\nn = 3", "a", "b", "c", "print(a, b, c)")
ANSWER = ["", "aaa\n", "bbb\n", "ccc\n", "aaa bbb ccc\n"]


def three(tmp_path: Path, main: str = "c") -> Settings:
    """Two steps and a cell of the main line, each of which ends when its gate opens."""
    gate = tmp_path / "gate"
    middle = [waits(gate, name, step=name != main) for name in "abc"]
    return settings(tmp_path / "project", [CELLS[0], *middle, CELLS[4]])


def test_a_lost_agent_costs_its_own_step_only(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    lab.kill(lab.agent_of("cell-1"))
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (2, 1, 1)


def test_a_lost_main_line_comes_back_elsewhere_and_steps_go_on(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    lab.kill(lab.agent_of("main"))
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (1, 1, 2)


def test_a_run_goes_on_with_a_server_that_starts_again(lab: Lab, tmp_path: Path) -> None:
    lab.hire(3)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    lab.server.kill()
    lab.server.wait()
    open_gate(tmp_path / "gate", "a")
    time.sleep(1.0)  # the step ends while there is no server
    lab.serve()
    began = time.monotonic()
    open_gate(tmp_path / "gate", "b")
    open_gate(tmp_path / "gate", "c")
    assert texts(future.result(SECONDS)) == ANSWER
    assert time.monotonic() - began < 15.0
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (1, 1, 1)


def test_an_agent_that_was_cut_off_loses_against_the_first_commit(lab: Lab, tmp_path: Path) -> None:
    lab.hire(4)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    late = lab.agents[lab.agent_of("cell-1")]
    os.kill(late.pid, signal.SIGSTOP)
    lab.wait_for("start", 1, times=2)
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    lab.wait_for("done", 1)
    os.kill(late.pid, signal.SIGCONT)
    assert texts(future.result(SECONDS)) == ANSWER
    slots = [s for s in lab.store.records(lab.store.runs()[0].id) if s.step == "cell-1"]
    assert len(slots) == 1


def test_a_main_line_that_was_cut_off_stops_before_its_next_cell(lab: Lab, tmp_path: Path) -> None:
    lab.hire(4)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    late = lab.agents[lab.agent_of("main")]
    os.kill(late.pid, signal.SIGSTOP)
    lab.wait_for("start", 3, times=2)
    os.kill(late.pid, signal.SIGCONT)
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    epochs = lab.store.last_epoch(lab.store.runs()[0].id)
    assert epochs == 2


def test_one_agent_alone_runs_everything(lab: Lab, tmp_path: Path) -> None:
    lab.hire(1)
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(lab.run(three(tmp_path))) == ANSWER
