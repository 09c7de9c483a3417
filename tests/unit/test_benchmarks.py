"""The harness tells what was kept, what was not, and when two tools did not do the same work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks import cases, notebooks, report
from benchmarks.measure import Broken, Contender, Sample, Times, repeat, text_of


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
