"""Cells that the user has put into one step by name: one step in the plan, one commit a cell."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from .lab import SECONDS, Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

CELLS = (
    "import probe",
    "#| step: train\na = probe.at('a')",
    "#| step: train\nb = a + probe.at('b')",
    "c = probe.at('c')",
    "#| step: train\nd = b + probe.at('d')",
    "print(b, c, d)",
)


def test_the_plan_shows_one_step_with_all_its_cells(lab: Lab) -> None:
    lab.write(*CELLS)
    words = lab.words()
    words = [*words[:2], "jup2kub", "plan", str(lab.notebook), "--annotations", str(lab.table)]
    asked = subprocess.run(
        [*words, "--json"], env=lab.env(), capture_output=True, timeout=SECONDS, check=True
    )
    steps = {s["id"]: s["cells"] for s in json.loads(asked.stdout)["steps"]}
    assert steps["train"] == [1, 2, 4]
    told = subprocess.run(
        [*words, "--explain"], env=lab.env(), capture_output=True, timeout=SECONDS, check=True, text=True
    ).stdout
    assert "you named the step “train”" in told


@pytest.mark.parametrize("options", [(), ("--no-fork",)], ids=["forks", "fresh kernels"])
def test_its_cells_leave_under_its_name_and_resume_one_by_one(lab: Lab, options: tuple[str, ...]) -> None:
    lab.write(*CELLS)
    done = lab.run(*options, offload="auto")
    assert done.code == 0, done.err
    assert lab.text(5) == "2.0 1.0 3.0\n"
    assert [lab.cell(i)["step"] for i in (1, 2, 4)] == ["train"] * 3
    lab.write(*CELLS[:4], CELLS[4] + "\nd += 1", CELLS[5])
    edited = lab.run(*options, offload="auto")
    assert edited.code == 0, edited.err
    assert lab.text(5) == "2.0 1.0 4.0\n"
    assert [len(lab.executions(n)) for n in "abd"] == [1, 1, 2]


def test_a_kernel_killed_in_the_middle_repeats_only_the_cell_it_was_at(lab: Lab) -> None:
    lab.write(*CELLS)
    lab.gate("b")
    running = lab.start(offload="auto")
    with lab.hold("b"):
        os.kill(lab.executions("b")[0], signal.SIGKILL)
        lab.open_gate("b")
    done = running.end()
    assert done.code == 0, done.err
    assert lab.text(5) == "2.0 1.0 3.0\n"
    assert [len(lab.executions(n)) for n in "abcd"] == [1, 2, 1, 1]
