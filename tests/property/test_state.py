"""Invariants of the state machine under any list of events: duplicates, losses, reorderings, zombies."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jup2kub.engine import events as ev
from jup2kub.engine.budgets import KINDS, Config
from jup2kub.engine.state import State, advance
from jup2kub.engine.tasks import COMMITTED, MAIN, READY, SUSPECT, TERMINAL, Task, free
from jup2kub.kit.canon import from_json, to_json

CONFIG = Config(
    infrastructure=3, backoff=(0.0, 1.0, 5.0), silence_seconds=15.0, start_seconds=30.0, max_memory=800
)
NAMES = ("main", "s1", "s2", "s3", "s4")
CHUNKS = st.sampled_from(("loop-2.0.1", "loop-2.0.2"))
TASKS = st.one_of(st.sampled_from(NAMES), CHUNKS)
WORKERS = st.sampled_from(("w1", "w2", "w3"))
ATTEMPTS = st.integers(1, 5)
CHANCE = st.floats(0, 1)

EVENTS = st.one_of(
    st.builds(ev.WorkerJoined, WORKERS, cpu=st.sampled_from((1.0, 2.0)), memory=st.sampled_from((0, 500)), gpu=st.integers(0, 1)),
    st.builds(ev.WorkerLeft, WORKERS, jitter=CHANCE),
    st.builds(ev.Heartbeat, WORKERS),
    st.builds(ev.Heartbeat, WORKERS, TASKS, ATTEMPTS),
    st.builds(ev.Started, TASKS, ATTEMPTS),
    st.builds(ev.Persisting, TASKS, ATTEMPTS),
    st.builds(ev.Committed, TASKS, st.sampled_from(("r1", "r2"))),
    st.builds(ev.Failed, TASKS, ATTEMPTS, st.sampled_from(KINDS), early=st.booleans(), peak=st.integers(0, 900), jitter=CHANCE),
    st.builds(ev.Mispredicted, TASKS, ATTEMPTS, st.integers(0, 9)),
    st.builds(ev.Unshippable, TASKS, ATTEMPTS, st.just("x")),
    st.builds(ev.MainPassed, st.integers(0, 9)),
    st.builds(ev.MainWaits, ATTEMPTS, st.booleans()),
    st.builds(ev.Spread, st.just("s1"), st.just(2), st.lists(CHUNKS, max_size=3).map(tuple), st.integers(1, 4)),
    st.builds(ev.Gathered, st.lists(CHUNKS, max_size=3).map(tuple), st.integers(1, 4)),
    st.builds(ev.Tick, CHANCE),
)  # fmt: skip
STEPS = st.lists(st.tuples(EVENTS, st.sampled_from((0.0, 0.5, 4.0, 16.0))), max_size=60)


def start() -> State:
    """Five tasks: two free ones, one that needs a step and a cell of main, one with a device, one behind it."""
    tasks = (
        Task(MAIN, (0, 1, 9), priority=9.0),
        Task("s1", (2,), priority=-2, memory=300),
        Task("s2", (3,), priority=-3, retries=1, timeout=20.0),
        Task("s3", (4,), needs=("s1",), after=frozenset({1}), priority=-4, memory=300),
        Task("s4", (5,), needs=("s3",), priority=-5, gpu=1),
    )
    return State(CONFIG, {t.id: t for t in tasks})


def check(before: State, after: State, commands: tuple[ev.Command, ...]) -> None:
    """What holds of every single transition."""
    for name, task in after.tasks.items():
        old = before.tasks.get(name, task)
        if old.state in TERMINAL and task.turn == old.turn:
            assert task == old, "last states are last"
        assert (task.state in TERMINAL) <= (not task.attempts)
        assert len({a.number for a in task.attempts}) == len(task.attempts)
        assert sum(not a.silent for a in task.attempts) <= 1 or old.attempts, (
            "a second attempt only beside a silent one"
        )
        for kind, spent in task.spent.items():
            assert spent <= CONFIG.allowed(kind, task.retries) + 1
    started = [c for c in commands if isinstance(c, ev.Dispatch)]
    for worker in {c.worker for c in started}:
        cpu, memory, gpu = free(after, worker)
        busy = [a for t in after.tasks.values() for a in t.attempts if a.worker == worker and not a.waiting]
        assert gpu >= 0
        if len(busy) > 1:
            assert cpu >= 0
            assert memory >= 0 or not after.workers[worker].memory
    for command in started:
        task = after.tasks[command.task]
        assert getattr(before.tasks.get(command.task), "number", 0) < command.attempt == task.number
        assert all(after.tasks[n].state in TERMINAL for n in task.needs)


@given(STEPS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_events_in_any_order_keep_the_invariants(steps: list[tuple[ev.Event, float]]) -> None:
    state, now, settled, commits = start(), 0.0, [], {}
    for event, after in steps:
        now += after
        following, commands = advance(state, event, now)
        check(state, following, commands)
        settled += [c.task for c in commands if isinstance(c, ev.Settled)]
        for name, task in following.tasks.items():
            if task.state == COMMITTED:
                assert commits.setdefault(name, task.record) == task.record, "one commit a task"
        state = following
    assert len(settled) == len(set(settled)), "every task settles once"


@given(STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_repeated_event_changes_nothing(steps: list[tuple[ev.Event, float]]) -> None:
    state, now = start(), 0.0
    for event, after in steps:
        now += after
        state, _ = advance(state, event, now)
        again, commands = advance(state, event, now)
        assert again == state
        assert commands == ()


@given(STEPS, st.integers(0, 59))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_snapshot_anywhere_changes_nothing(steps: list[tuple[ev.Event, float]], at: int) -> None:
    state, now = start(), 0.0
    other = state
    for n, (event, after) in enumerate(steps):
        now += after
        state, commands = advance(state, event, now)
        if n == at:
            other = from_json(State, to_json(other))
        other, same = advance(other, event, now)
        assert (other, same) == (state, commands)


@given(st.integers(0, 10**9), st.floats(0, 0.9))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_run_with_live_workers_whose_attempts_end_always_finishes(seed: int, trouble: float) -> None:
    chance = random.Random(seed)
    state, now, live = start(), 0.0, {}
    todo: list[ev.Event] = [ev.WorkerJoined("w1", cpu=1.0), ev.WorkerJoined("w2", cpu=2.0, memory=500, gpu=1)]
    for _ in range(1000):
        if not todo:
            todo = [
                ev.Heartbeat("w1"),
                ev.Heartbeat("w2"),
                ev.Tick(chance.random()),
                *_report(state, live, chance, trouble),
            ]
        event = todo.pop(0)
        now += 0.3
        before = state
        state, commands = advance(state, event, now)
        check(before, state, commands)
        for c in commands:
            if isinstance(c, ev.Dispatch):
                live[c.task, c.attempt] = c.worker
            elif isinstance(c, ev.Abandon):
                live.pop((c.task, c.attempt), None)
        if state.ended:
            break
    assert state.ended, {t.id: (t.state, t.reason) for t in state.tasks.values()}


def _report(
    state: State, live: dict[tuple[str, int], str], chance: random.Random, trouble: float
) -> list[ev.Event]:
    """Return what one live attempt says next: trouble with the given probability, else its commit."""
    others = [k for k in live if k[0] != MAIN]
    passed: list[ev.Event] = [ev.MainPassed(i) for i in range(10)]
    if not others:
        if any(t.state not in TERMINAL for t in state.tasks.values() if t.id != MAIN):
            waits = [ev.MainWaits(n) for name, n in live if name == MAIN]
            return [*passed, *waits]
        task, number = next(iter(live), ("", 0))
    else:
        task, number = chance.choice(others)
    if not task:
        return passed
    if chance.random() < trouble:
        kind = chance.choice(KINDS)
        live.pop((task, number))
        return [ev.Failed(task, number, kind, jitter=chance.random())]
    return [ev.Started(task, number), ev.Persisting(task, number), ev.Committed(task, f"r{number}")]


def test_what_is_ready_is_offered_as_soon_as_a_worker_is_free() -> None:
    state, _ = advance(start(), ev.WorkerJoined("w1", cpu=4.0), 0.0)
    assert not [t for t in state.tasks.values() if t.state in (READY, SUSPECT)]
