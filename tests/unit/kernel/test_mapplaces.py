"""Which executions of a loop are looked at."""

from __future__ import annotations

import time

import pytest

from jup2kub.kernel import mapplaces
from jup2kub.kernel.mapplaces import LEARNT, SHORT, Place
from jup2kub.kernel.rewrite import Spec


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(mapplaces.time, "perf_counter", made.perf_counter)
    return made


def run(place: Place, clock: Clock, iterable: object, seconds: float) -> bool:
    """One execution; returns whether it was looked at."""
    looked = not place.pass_over(iterable)
    clock.now += seconds
    if looked:
        place.add(seconds, 10)
    return looked


@pytest.mark.parametrize("iterable", [range(10), dict.fromkeys(range(10)).items(), enumerate("x")])
def test_a_short_loop_that_runs_often_costs_next_to_nothing(clock: Clock, iterable: object) -> None:
    place = Place(Spec(0, 1), 0.0)
    clock.now = time.time()
    assert sum(run(place, clock, iterable, 0.001) for _ in range(10_000)) == LEARNT


def test_a_loop_that_has_become_slow_is_looked_at_again(clock: Clock) -> None:
    place = Place(Spec(0, 1), 0.0)
    assert not all(run(place, clock, range(10), 0.001) for _ in range(100))
    run(place, clock, range(10), 2 * SHORT)
    assert run(place, clock, range(10), 2 * SHORT)
    assert run(place, clock, range(10), 0.001)


def test_a_loop_over_more_than_before_is_looked_at(clock: Clock) -> None:
    place = Place(Spec(0, 1), 0.0)
    assert not all(run(place, clock, range(10), 0.001) for _ in range(100))
    assert run(place, clock, range(10_000), 1.0)


def test_an_asked_loop_is_always_looked_at(clock: Clock) -> None:
    place = Place(Spec(0, 1, asked=True), 0.0)
    assert all(run(place, clock, range(10), 0.001) for _ in range(100))
