"""Invariants of the state machine as a run server uses it: tasks sent one by one, servers that forget, zombies."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_state import ATTEMPTS, CHANCE, CONFIG, EVENTS, TASKS, WORKERS

from jup2kub.engine import events as ev
from jup2kub.engine.state import State, advance
from jup2kub.engine.tasks import CANCELLED, COMMITTED, MAIN, TERMINAL, Task
from jup2kub.kit.canon import from_json, to_json

TURNS = st.integers(1, 6)
SENT = st.one_of(
    EVENTS,
    st.builds(ev.Sent, TASKS, st.lists(TASKS, max_size=2).map(tuple), TURNS),
    st.builds(ev.Sent, TASKS, st.just(()), TURNS, record=st.just("0")),
    st.builds(ev.Resumed, WORKERS, TASKS, ATTEMPTS),
    st.builds(ev.Withdrawn, TASKS, TURNS),
    st.builds(ev.WorkerLeft, WORKERS, jitter=CHANCE, kind=st.sampled_from(("memory", "storage", "nonsense"))),
)
STEPS = st.lists(st.tuples(SENT, st.sampled_from((0.0, 0.5, 4.0, 16.0))), max_size=60)


def start() -> State:
    """A main line, and cells that become ready only when they are sent."""
    cells = {f"s{i}": Task(f"s{i}", (i,), after=frozenset({i}), priority=-float(i)) for i in range(1, 5)}
    return State(CONFIG, {MAIN: Task(MAIN, (0,), priority=9.0), **cells})


@given(STEPS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_task_settles_once_for_each_sending(steps: list[tuple[ev.Event, float]]) -> None:
    state, now, settled = start(), 0.0, []
    for event, after in steps:
        now += after
        following, commands = advance(state, event, now)
        ends = [following.tasks[c.task] for c in commands if isinstance(c, ev.Settled)]
        settled += [(t.id, t.turn) for t in ends if not t.owner]  # a chunk may be forgotten and sent anew
        for name, task in following.tasks.items():
            old = state.tasks.get(name, task)
            assert task.turn >= old.turn
            again = isinstance(event, (ev.Sent, ev.Spread)) and task.turn > old.turn
            if old.state in TERMINAL and not again:
                assert task == old, "last states are last, but for what is sent anew"
            if task.state == COMMITTED and old.state != COMMITTED:
                seen = isinstance(event, ev.Committed) or (isinstance(event, ev.Sent) and event.record)
                assert seen, "only a record commits"
            assert (task.state in TERMINAL) <= (not task.attempts)
            assert len({a.number for a in task.attempts}) == len(task.attempts)
            assert all(a.number <= task.number for a in task.attempts)
        for command in commands:
            if isinstance(command, ev.Dispatch):
                task = following.tasks[command.task]
                known = state.tasks.get(command.task)
                assert command.attempt == task.number > (known.number if known else 0)
                assert command.task == MAIN or task.owner or set(task.cells) <= following.passed
                before = {
                    (t.id, a.number)
                    for t in state.tasks.values()
                    for a in t.attempts
                    if a.worker == command.worker
                }
                still = {(t.id, a.number) for t in following.tasks.values() for a in t.attempts}
                assert command.task != MAIN or not before & still, "the main line begins alone"
        state = following
    assert len(settled) == len(set(settled))


@given(STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_comes_twice_changes_nothing(steps: list[tuple[ev.Event, float]]) -> None:
    state, now = start(), 0.0
    for event, after in steps:
        now += after
        state, _ = advance(state, event, now)
        assert advance(state, event, now) == (state, ())


@given(STEPS, st.integers(0, 59))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_snapshot_anywhere_changes_nothing(steps: list[tuple[ev.Event, float]], at: int) -> None:
    state, now = start(), 0.0
    other = state
    for n, (event, after) in enumerate(steps):
        now += after
        if n == at:
            other = from_json(State, to_json(other))
        state, commands = advance(state, event, now)
        other, same = advance(other, event, now)
        assert (other, same) == (state, commands)


def test_a_server_that_forgot_takes_what_is_under_way() -> None:
    state, _ = advance(start(), ev.WorkerJoined("w1"), 0.0)
    state, _ = advance(state, ev.WorkerJoined("w2"), 0.0)
    fresh = start()
    for event in (
        ev.WorkerJoined("w2"),
        ev.Resumed("w2", "s1", 3),
        ev.Sent("s1", (), 7),
    ):
        fresh, commands = advance(fresh, event, 1.0)
    assert [a.number for a in fresh.tasks["s1"].attempts] == [3]
    assert not [c for c in commands if isinstance(c, ev.Dispatch) and c.task == "s1"]
    fresh, commands = advance(fresh, ev.Committed("s1", "r"), 2.0)
    assert fresh.tasks["s1"].state == COMMITTED


def test_what_is_withdrawn_stays_so_until_it_is_sent_again() -> None:
    state, _ = advance(start(), ev.WorkerJoined("w1", cpu=4.0), 0.0)
    state, _ = advance(state, ev.Sent("s1", (), 1), 0.0)
    state, commands = advance(state, ev.Withdrawn("s1", 2), 1.0)
    assert state.tasks["s1"].state == CANCELLED
    assert any(isinstance(c, ev.Abandon) and c.task == "s1" for c in commands)
    assert advance(state, ev.Sent("s1", (), 1), 2.0) == (state, ())
    state, commands = advance(state, ev.Sent("s1", (), 3), 3.0)
    assert any(isinstance(c, ev.Dispatch) and c.task == "s1" for c in commands)


def test_what_is_under_way_goes_on_and_what_was_begun_in_its_place_gives_way() -> None:
    state, _ = advance(start(), ev.WorkerJoined("w1"), 0.0)
    for event in (ev.WorkerJoined("w2"), ev.Sent("s1", (), 7)):
        state, commands = advance(state, event, 0.0)
    assert [(c.task, c.attempt, c.worker) for c in commands if isinstance(c, ev.Dispatch)] == [
        ("s1", 1, "w2")
    ]
    state, commands = advance(state, ev.WorkerJoined("w3", running=(("s1", 1),)), 1.0)
    assert [(c.task, c.attempt, c.worker) for c in commands if isinstance(c, ev.Abandon)] == [("s1", 1, "w2")]
    assert [(a.number, a.worker) for a in state.tasks["s1"].attempts] == [(1, "w3")]


def test_what_ended_before_it_was_sent_again_is_not_begun() -> None:
    state, _ = advance(start(), ev.WorkerJoined("w1", cpu=4.0), 0.0)
    state, _ = advance(state, ev.Sent("s1", (), 1), 0.0)
    state, _ = advance(state, ev.Withdrawn("s1", 1), 1.0)
    state, commands = advance(state, ev.Sent("s1", (), 2, record="0"), 2.0)
    assert [c for c in commands if not isinstance(c, ev.Wake)] == [ev.Settled("s1", COMMITTED)]
    assert (state.tasks["s1"].state, state.tasks["s1"].turn) == (COMMITTED, 2)


def test_a_main_line_begins_where_nothing_else_is_under_way() -> None:
    state = start()
    for event in (ev.WorkerJoined("w1"), ev.WorkerJoined("w2", cpu=2.0), ev.Sent("s1", (), 1)):
        state, _ = advance(state, event, 0.0)
    state, _ = advance(state, ev.Sent("s2", (), 2), 0.0)
    assert {a.worker for t in ("s1", "s2") for a in state.tasks[t].attempts} == {"w2"}
    state, commands = advance(state, ev.WorkerLeft("w1"), 1.0)
    state, commands = advance(state, ev.Committed("s1", "r"), 2.0)
    state, commands = advance(state, ev.Sent("s3", (), 3), 3.0)
    assert not [c for c in commands if isinstance(c, ev.Dispatch)], "the core is kept for the main line"
    state, commands = advance(state, ev.Committed("s2", "r"), 4.0)
    assert [c.task for c in commands if isinstance(c, ev.Dispatch)] == [MAIN, "s3"]
