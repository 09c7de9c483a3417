"""What passes from one agent to the next, or from one server to the next, without being done again or undone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .lab import Lab
from .test_faults import ANSWER, SECONDS, open_gate, settings, starts, texts, three

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path / "lab") as made:
        yield made


def test_a_main_line_that_is_asked_to_leave_leaves_its_steps_to_the_next(lab: Lab, tmp_path: Path) -> None:
    lab.hire(4)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    lab.agents[lab.agent_of("main")].send_signal(signal.SIGTERM)
    lab.wait_for("start", 3, times=2)
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (1, 1, 2)


SLEEPS = "#| step: {0}\ntime.sleep(1.0)\n{0} = '{0}' * n\nprint({0})"


def test_a_step_beside_the_main_line_leaves_its_newer_files_alone(lab: Lab, tmp_path: Path) -> None:
    lab.hire(1)
    cells = (
        "import os, time\nn = 3\n_ = open('f.txt', 'w').write('old')",
        SLEEPS.format("a") + "\n_ = open('f.txt', 'w').write('newer')",
        SLEEPS.format("b"),
        "print(b)",
        "print(a, open('f.txt').read())",
    )
    wanted = settings(tmp_path / "project", cells)
    done = texts(lab.run(wanted))
    assert done[3:] == ["bbb\n", "aaa newer\n"]
    assert (tmp_path / "project" / "f.txt").read_text() == "newer"


def test_a_main_line_that_waits_still_lends_its_core_to_a_server_that_starts_again(
    lab: Lab, tmp_path: Path
) -> None:
    lab.hire(1)
    future = lab.begin(replace(three(tmp_path, main=""), workers=3))
    lab.wait_for("start", 1)
    lab.server.kill()
    lab.server.wait()
    lab.serve()
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (1, 1, 1)


def test_a_stopped_agent_that_comes_back_gives_way(lab: Lab, tmp_path: Path) -> None:
    lab.hire(4)
    future = lab.begin(three(tmp_path))
    for cell in (1, 2, 3):
        lab.wait_for("start", cell)
    stopped = lab.agents[lab.agent_of("main")]
    os.kill(stopped.pid, signal.SIGSTOP)
    lab.wait_for("start", 3, times=2)
    os.kill(stopped.pid, signal.SIGCONT)
    for name in "abc":
        open_gate(tmp_path / "gate", name)
    assert texts(future.result(SECONDS)) == ANSWER
    assert (starts(lab, 1), starts(lab, 2)) == (1, 1)


def test_a_chain_of_steps_is_taken_as_it_comes_and_by_the_next_main_line(lab: Lab, tmp_path: Path) -> None:
    """What a step far behind has met outside the notebook is in the keys of all, wherever they were made."""
    lab.hire(3)
    cells = (
        "import random, time\nn = 3",
        "#| step: a\na = open('in.txt').read() + str(random.random())",
        "#| step: b\nb = a[:2] * n",
        "#| step: c\nc = b + '!'",
        "time.sleep(3.0)\nprint(c)",
        "print(a[:2], b, c)",
    )
    wanted = settings(tmp_path / "project", cells)
    (wanted.notebook.parent / "in.txt").write_text("in")
    future = lab.begin(wanted)
    lab.wait_for("start", 4)
    lab.kill(lab.agent_of("main"))
    assert texts(future.result(SECONDS))[4:] == ["ininin!\n", "in ininin ininin!\n"]
    assert (starts(lab, 1), starts(lab, 2), starts(lab, 3), starts(lab, 4)) == (1, 1, 1, 2)
