"""Chunks of loops in the state machine: they come, are offered, are lost, and go with their loop."""

from __future__ import annotations

from jup2kub.engine import events as ev
from jup2kub.engine.budgets import Config
from jup2kub.engine.server import views
from jup2kub.engine.state import State, advance
from jup2kub.engine.tasks import (
    CANCELLED,
    COMMITTED,
    DISPATCHED,
    LOST,
    MAIN,
    QUARANTINED,
    READY,
    RUNNING,
    SUSPECT,
    Task,
)

CHUNKS = ("loop-1.0.1", "loop-1.0.2", "loop-1.0.3")


class Run:
    """A state and its clock."""

    def __init__(self, *workers: str) -> None:
        self.state = State(Config(), {MAIN: Task(MAIN, (0, 1), priority=9.0)})
        self.now, self.commands = 0.0, list[ev.Command]()
        for worker in workers:
            self.do(ev.WorkerJoined(worker))
        self.do(ev.Started(MAIN, 1))

    def do(self, event: ev.Event, after: float = 0.0) -> list[ev.Command]:
        self.now += after
        self.state, commands = advance(self.state, event, self.now)
        self.commands = list(commands)
        return self.commands

    def states(self) -> list[str]:
        return [self.state.tasks[name].state for name in CHUNKS if name in self.state.tasks]

    def worker(self, name: str) -> list[str]:
        return [a.worker for a in self.state.tasks[name].attempts]


def spread(turn: int = 1, wait: float = 0.0) -> ev.Spread:
    return ev.Spread(MAIN, 1, CHUNKS, turn, wait=wait)


def test_chunks_go_to_whoever_is_free_and_to_the_agent_that_waits_for_them() -> None:
    run = Run("w1", "w2")
    run.do(ev.MainWaits(1))
    run.do(spread())
    assert run.states() == [DISPATCHED, DISPATCHED, READY]
    assert {w for name in CHUNKS for w in run.worker(name)} == {"w1", "w2"}


def test_a_main_line_that_does_not_wait_keeps_its_processor() -> None:
    run = Run("w1", "w2")
    run.do(spread())
    assert run.states() == [DISPATCHED, READY, READY]
    assert run.worker(CHUNKS[0]) == ["w2"]


def test_only_the_chunk_of_a_lost_agent_is_offered_again() -> None:
    run = Run("w1", "w2", "w3", "w4")
    run.do(spread())
    run.do(ev.Committed(CHUNKS[0]))
    lost = run.worker(CHUNKS[1])[0]
    others = run.worker(CHUNKS[2])
    run.do(ev.WorkerLeft(lost))
    run.do(ev.Tick(), after=1.0)
    assert run.states()[0] == COMMITTED
    assert run.worker(CHUNKS[2]) == others
    assert run.worker(CHUNKS[1]) not in ([lost], [])


def test_a_main_line_that_comes_back_finds_its_chunks_as_they_are() -> None:
    run = Run("w1", "w2", "w3")
    run.do(spread())
    run.do(ev.Started(CHUNKS[0], 1))
    run.do(ev.Committed(CHUNKS[1]))
    run.do(ev.WorkerLeft("w1"))
    before = run.state.tasks
    run.do(spread(turn=2))
    assert [run.state.tasks[n].attempts for n in CHUNKS] == [before[n].attempts for n in CHUNKS]
    assert run.states()[:2] == [RUNNING, COMMITTED]


def test_a_late_word_of_an_earlier_life_changes_nothing() -> None:
    run = Run("w1", "w2")
    run.do(spread(turn=2))
    before = run.state.tasks
    run.do(spread(turn=1))
    run.do(ev.Gathered(CHUNKS, 1))
    assert run.state.tasks == before


def test_a_loop_that_is_done_takes_its_chunks_along_and_stops_those_under_way() -> None:
    run = Run("w1", "w2")
    run.do(spread())
    commands = run.do(ev.Gathered(CHUNKS, 1))
    assert run.states() == []
    assert [c.worker for c in commands if isinstance(c, ev.Abandon)] == ["w2"]


def test_chunks_that_failed_for_good_do_not_fail_the_run() -> None:
    run = Run("w1", "w2")
    run.do(spread())
    run.do(ev.Failed(CHUNKS[0], 1, "user", "what it reads is not the same"))
    assert run.states()[0] == QUARANTINED
    commands = run.do(ev.Committed(MAIN))
    assert run.states() == [QUARANTINED, CANCELLED, CANCELLED]
    assert ev.RunEnded(True) in commands


def test_a_chunk_that_failed_is_offered_anew_when_it_is_sent_anew() -> None:
    run = Run("w1", "w2")
    run.do(spread())
    run.do(ev.Failed(CHUNKS[0], 1, "user", "x"))
    run.do(spread(turn=2))
    assert run.states()[0] in (READY, DISPATCHED)
    assert run.state.tasks[CHUNKS[0]].number >= 1


def test_after_a_server_has_started_again_chunks_wait_for_who_has_them() -> None:
    run = Run("w1", "w2")
    run.do(spread(wait=6.0))
    assert run.states() == [LOST] * 3
    run.do(ev.Resumed("w2", CHUNKS[1], 4))
    assert run.states() == [LOST, RUNNING, LOST]
    run.do(ev.Heartbeat("w1"), after=7.0)
    run.do(ev.Tick())
    assert run.worker(CHUNKS[1]) == ["w2"]
    assert run.states()[0] in (READY, DISPATCHED)


def test_a_silent_agent_costs_a_second_attempt_and_the_first_commit_wins() -> None:
    run = Run("w1", "w2", "w3")
    run.do(ev.Spread(MAIN, 1, CHUNKS[:1], 1))
    run.do(ev.Started(CHUNKS[0], 1))
    for _ in range(4):
        run.do(ev.Heartbeat("w1"), after=5.0)
        run.do(ev.Heartbeat("w3"))
        run.do(ev.Tick())
    assert len(run.worker(CHUNKS[0])) == 2 or run.states() == [SUSPECT]
    run.do(ev.Committed(CHUNKS[0]))
    assert run.states() == [COMMITTED]


def test_the_parts_of_a_loop_are_shown_as_one() -> None:
    run = Run("w1", "w2", "w3")
    run.do(spread())
    run.do(ev.Committed(CHUNKS[0]))
    shown = {t["task"]: t for t in views.tasks(run.state, run.now)}
    assert set(shown) == {MAIN, "loop-1.0"}
    assert shown["loop-1.0"]["reason"] == "1 of 3 parts are done"
    assert len(shown["loop-1.0"]["attempts"]) == 2
