"""The harness tells what was kept, what was not, and when two tools did not do the same work."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import cases, notebooks, report
from benchmarks.measure import Broken, Contender, Sample, Times, costs, repeat, text_of, two_at_once


def times(same: bool = True, **seconds: float) -> Times:
    return Times({name: (Sample(value, {}),) for name, value in seconds.items()}, same)


def writes(text: str) -> Contender:
    script = f"import json; json.dump({notebooks.notebook(['x'])!r}, open('out.ipynb', 'w'))".replace(
        "'outputs': []", f"'outputs': [{{'output_type': 'stream', 'text': [{text!r}]}}]"
    )
    return Contender(text, lambda _: [[sys.executable, "-c", script]], lambda _: None)


def test_a_goal_is_met_at_its_bound() -> None:
    goal = cases.Goal("faster", cases.ratio("nbclient"), 2.0, at_least=True)
    assert goal.met(times(nbclient=4.0, jup2kub=2.0))
    assert not goal.met(times(nbclient=3.9, jup2kub=2.0))


def test_contenders_that_say_the_same_are_told_from_others(tmp_path: Path) -> None:
    assert repeat([writes("a"), writes("a")], tmp_path / "same", 1).same
    assert not repeat([writes("a"), writes("b")], tmp_path / "different", 1).same


def test_a_command_that_fails_has_no_time(tmp_path: Path) -> None:
    fails = Contender("fails", lambda _: [[sys.executable, "-c", "raise SystemExit(3)"]], lambda _: None)
    with pytest.raises(Broken, match="exit code 3"):
        repeat([fails], tmp_path, 1)


def test_the_table_never_calls_different_outputs_a_success() -> None:
    goal = cases.Goal("faster", cases.ratio("nbclient"), 1.0, at_least=True)
    ways = [Contender(name, lambda _: [], lambda _: None) for name in ("nbclient", "jup2kub")]
    case = cases.Case("x", "a case", ways, [goal])
    assert "| met |" in report.speed([(case, times(nbclient=2.0, jup2kub=1.0))])
    assert "**not met**" in report.speed([(case, times(nbclient=1.0, jup2kub=2.0))])
    assert "**not the same outputs**" in report.speed([(case, times(same=False, nbclient=2.0, jup2kub=1.0))])


def test_what_the_machine_gives_to_two_processes_stands_beside_what_runs_in_parallel() -> None:
    """Without it nobody can tell a slow tool from a machine that has lent its second core to somebody else."""
    case = cases.Case("x", "a case", [Contender("jup2kub", lambda _: [], lambda _: None)], [], parallel=True)
    found = Times({"jup2kub": (Sample(1.0, {}, 1.9),)}, True, (1.6, 1.25, 1.3))
    said = report.machine_then(found)
    assert "took 1.30 × one (1.25 to 1.60): at most 1.54 × faster" in said
    assert report.machine_then(times(jup2kub=1.0)) == ""
    goal = cases.Goal("a goal", lambda t: 1.0, 1.0, at_least=True)
    line = report.speed([(replace(case, goals=[goal]), found)]).splitlines()[-1]
    assert said in line
    assert "jup2kub 1.00 ± 0.00 s (1.9)" in line


def test_two_processes_that_wait_for_nothing_but_time_take_no_longer_than_one() -> None:
    """They need no core, so that this holds on any machine."""
    assert two_at_once([sys.executable, "-c", "import time; time.sleep(1.5)"]) < 1.9
    with pytest.raises(Broken):
        two_at_once([sys.executable, "-c", "raise SystemExit(1)"])


def test_the_processors_time_is_that_of_a_command_and_its_children(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    assert 0.4 <= costs([sys.executable, "-c", child], tmp_path)[1] < 1.5
    assert costs([sys.executable, "-c", "import time; time.sleep(0.6)"], tmp_path)[1] < 0.4


def test_all_cases_that_run_in_parallel_say_so() -> None:
    assert {c.key for c in cases.chosen(1000, []) if c.parallel} == {"a", "c1", "e1", "e2", "e3"}


def test_text_is_that_of_streams_results_and_errors() -> None:
    outputs = [
        {"output_type": "stream", "text": ["a\n", "b"]},
        {"output_type": "execute_result", "data": {"text/plain": "1"}},
        {"output_type": "display_data", "data": {"image/png": "…"}},
    ]
    assert text_of({"cells": [{"outputs": outputs}, {"source": "no outputs"}]}) == ["a\nb1"]


def test_every_case_of_the_list_is_built() -> None:
    built = cases.chosen(1000, [])
    assert len({c.key for c in built}) == len(built)
    assert all(c.goals and c.contenders for c in built)
    with pytest.raises(Broken, match="no such case"):
        cases.chosen(1000, ["z"])
