"""The state machine: one promise a test."""

from __future__ import annotations

import json

import pytest

from jup2kub.engine import events as ev
from jup2kub.engine import tasks as t
from jup2kub.engine.budgets import Config
from jup2kub.engine.state import State, advance, initial
from jup2kub.kit.canon import from_json, to_json
from jup2kub.model.plan import CellPlan, Plan, Step

CONFIG = Config(backoff=(1.0, 2.0), silence_seconds=15.0, start_seconds=60.0)


def plan(*steps: Step, cells: tuple[CellPlan, ...] = ()) -> Plan:
    known = {c.index: c for c in cells}
    count = max([9, *known]) + 1
    gone = {i for s in steps for i in s.cells}
    return Plan(
        1, "static", 2, "", tuple(known.get(i, CellPlan(i)) for i in range(count)),
        tuple(i for i in range(count) if i not in gone), steps, (), (), (),
    )  # fmt: skip


class Run:
    """A state and its clock; collects commands."""

    def __init__(self, *steps: Step, cells: tuple[CellPlan, ...] = (), config: Config = CONFIG) -> None:
        self.state: State = initial(plan(*steps, cells=cells), config)
        self.now = 0.0
        self.commands: list[ev.Command] = []

    def __call__(self, event: ev.Event, after: float = 0.0) -> list[ev.Command]:
        self.now += after
        self.state, commands = advance(self.state, event, self.now)
        self.commands += commands
        return list(commands)

    def of(self, kind: type) -> list[ev.Command]:
        return [c for c in self.commands if isinstance(c, kind)]

    def __getitem__(self, task: str) -> str:
        return self.state.tasks[task].state


@pytest.fixture
def run() -> Run:
    run = Run(Step("a", (2,)), Step("b", (4,)))
    run(ev.WorkerJoined("w1", cpu=2, memory=1000))
    run(ev.WorkerJoined("w2", cpu=2, memory=1000))
    return run


def test_main_goes_first_then_steps_in_notebook_order(run: Run) -> None:
    assert [(c.task, c.worker) for c in run.of(ev.Dispatch)] == [("main", "w1"), ("a", "w1"), ("b", "w2")]


def test_the_straight_road_to_a_commit(run: Run) -> None:
    seen = [run["a"]]
    for event in (ev.Started("a", 1), ev.Persisting("a", 1), ev.Committed("a", "r")):
        run(event)
        seen.append(run["a"])
    assert seen == [t.DISPATCHED, t.RUNNING, t.PERSISTING, t.COMMITTED]


def test_a_step_waits_for_the_cells_and_steps_that_it_needs() -> None:
    cells = (CellPlan(4, before=(1, 2)),)
    run = Run(Step("a", (2,)), Step("b", (4,)), cells=cells)
    run(ev.WorkerJoined("w", cpu=9))
    assert run["b"] == t.PENDING
    run(ev.MainPassed(1))
    assert run["b"] == t.PENDING
    run(ev.Committed("a"))
    assert run["b"] == t.DISPATCHED


def test_what_was_held_back_after_a_restart_still_waits_for_what_it_needs() -> None:
    """Three that follow each other, sent again to a server that has forgotten them: one is given out, not three."""
    run = Run(Step("a", (2,)), Step("b", (4,)), Step("c", (6,)))
    run(ev.WorkerJoined("w", cpu=9))
    for task, needs in (("a", ()), ("b", ("a",)), ("c", ("b",))):
        number = run.state.tasks[task].number
        run(ev.Withdrawn(task, 1))
        run(ev.Sent(task, needs, 2, wait=6.0))
        assert run[task] == t.LOST, number
    run(ev.Tick(0.5), after=6.0)
    assert [run[task] for task in "abc"] == [t.DISPATCHED, t.PENDING, t.PENDING]
    run(ev.Committed("a"))
    assert [run[task] for task in "bc"] == [t.DISPATCHED, t.PENDING]


def test_no_retry_for_an_error_of_the_users_code(run: Run) -> None:
    run(ev.Failed("a", 1, "user", "ValueError"))
    assert run["a"] == t.QUARANTINED
    assert run.of(ev.Settled) == [ev.Settled("a", t.QUARANTINED, "ValueError")]


def test_the_users_own_number_of_retries() -> None:
    run = Run(Step("a", (2,)), cells=(CellPlan(2, retries=2),))
    run(ev.WorkerJoined("w", cpu=2))
    for n in (1, 2, 3):
        run(ev.Failed("a", n, "user"))
        run(ev.Tick(), after=10)
        run(ev.Heartbeat("w"))
    assert run["a"] == t.QUARANTINED
    assert len([c for c in run.of(ev.Dispatch) if c.task == "a"]) == 3


def test_dependants_of_a_failed_step_are_blocked() -> None:
    run = Run(
        Step("a", (2,)),
        Step("b", (4,)),
        Step("c", (5,)),
        cells=(CellPlan(4, before=(2,)), CellPlan(5, before=(4,))),
    )
    run(ev.WorkerJoined("w", cpu=9))
    run(ev.Failed("a", 1, "user", "boom"))
    assert (run["b"], run["c"]) == (t.BLOCKED, t.BLOCKED)


def test_retries_wait_by_schedule_with_jitter_as_data(run: Run) -> None:
    run(ev.Failed("a", 1, "infrastructure", jitter=1.0))
    assert run["a"] == t.RETRY_WAIT
    assert run.of(ev.Wake)[-1].at == 1.5
    run(ev.Tick(), after=1.4)
    assert run["a"] == t.RETRY_WAIT
    run(ev.Tick(), after=0.2)
    assert run["a"] == t.DISPATCHED
    assert run.of(ev.Dispatch)[-1].attempt == 2


def test_a_pod_whose_memory_ran_out_is_followed_by_one_of_twice_its_size() -> None:
    run = Run(Step("a", (2,)), config=Config(backoff=(), strict=True))
    run(ev.WorkerJoined("w", cpu=2, memory=1000))
    run(ev.Failed("a", 1, "memory"))
    assert run.state.tasks["a"].memory == 2000, "nothing was known of its peak"
    assert run.state.tasks["a"].state == "READY", "it waits for a bigger one"
    run(ev.WorkerJoined("big", cpu=2, memory=2000))
    assert run.state.tasks["a"].attempts[0].worker == "big"


def test_out_of_memory_doubles_up_to_the_cap() -> None:
    config = Config(backoff=(), max_memory=350)
    run = Run(Step("a", (2,)), cells=(CellPlan(2, memory=100),), config=config)
    run(ev.WorkerJoined("w", cpu=2, memory=1000))
    for n in (1, 2, 3):
        run(ev.Failed("a", n, "memory"))
    given = [c.memory for c in run.of(ev.Dispatch) if c.task == "a"]
    assert given == [100, 200, 350]
    assert run["a"] == t.QUARANTINED


def test_ephemeral_storage_doubles_on_its_own_budget(run: Run) -> None:
    run(ev.Failed("a", 1, "storage"))
    run(ev.Tick(), after=5)
    assert run.of(ev.Dispatch)[-1].storage == 2


def test_budgets_are_separate(run: Run) -> None:
    for n, kind in enumerate(("memory", "storage", "hang", "infrastructure", "memory", "storage"), start=1):
        run(ev.Failed("a", n, kind))
        run(ev.Heartbeat("w1"), after=10)
        assert run["a"] == t.DISPATCHED, kind
    run(ev.Failed("a", 7, "hang"))
    assert run["a"] == t.QUARANTINED


def test_a_cell_that_runs_too_long_is_abandoned_once_more_tried_then_given_up() -> None:
    run = Run(Step("a", (2,)), cells=(CellPlan(2, timeout=5.0),))
    run(ev.WorkerJoined("w", cpu=2))
    for n in (1, 2):
        run(ev.Started("a", n))
        run(ev.Tick(), after=5)
        run(ev.Tick(), after=2)
    assert [(c.task, c.attempt) for c in run.of(ev.Abandon)] == [("a", 1), ("a", 2)]
    assert run["a"] == t.QUARANTINED


def test_silence_makes_suspect_and_offers_again_and_the_first_commit_wins(run: Run) -> None:
    run(ev.WorkerJoined("w3"))
    run(ev.Started("a", 1))
    for _ in range(4):
        run(ev.Heartbeat("w2"), after=4)
        run(ev.Heartbeat("w3"))
    run(ev.Tick())
    assert [(c.task, c.attempt, c.worker) for c in run.of(ev.Dispatch)[-2:]] == [
        ("main", 2, "w3"),
        ("a", 2, "w2"),
    ]
    run(ev.Committed("a", "first"))
    assert run["a"] == t.COMMITTED
    assert {(c.attempt, c.worker) for c in run.of(ev.Abandon) if c.task == "a"} == {(1, "w1"), (2, "w2")}


def test_a_silent_attempt_that_speaks_again_is_not_suspect() -> None:
    run = Run(Step("a", (2,)))
    run(ev.WorkerJoined("w", cpu=2))
    run(ev.Started("a", 1))
    run(ev.Tick(), after=16)
    assert run["a"] == t.SUSPECT
    run(ev.Heartbeat("w"))
    assert run["a"] == t.RUNNING
    assert len(run.state.tasks["a"].attempts) == 1


def test_a_lost_worker_loses_its_attempts_and_never_comes_back(run: Run) -> None:
    run(ev.WorkerLeft("w2", "spot"))
    assert run["b"] == t.LOST
    run(ev.WorkerJoined("w2", cpu=8))
    assert "w2" not in run.state.workers


def test_zombies_are_ignored_but_their_commits_count(run: Run) -> None:
    run(ev.WorkerLeft("w2"))
    before = run.state
    for event in (
        ev.Started("b", 1),
        ev.Failed("b", 1, "user"),
        ev.Mispredicted("b", 1, 0),
        ev.Unshippable("b", 1, "x"),
    ):
        assert run(event) == []
        assert run.state == before
    run(ev.Committed("b", "zombie"))
    assert run["b"] == t.COMMITTED


def test_tasks_start_only_where_their_memory_fits_but_alone_they_always_may() -> None:
    cells = (CellPlan(2, memory=600), CellPlan(4, memory=600), CellPlan(6, memory=5000))
    run = Run(Step("a", (2,)), Step("b", (4,)), Step("c", (6,)), cells=cells)
    run(ev.WorkerJoined("w", cpu=8, memory=1000))
    assert run["a"] == t.DISPATCHED
    assert (run["b"], run["c"]) == (t.READY, t.READY)
    run(ev.Committed("a"))
    assert (run["b"], run["c"]) == (t.DISPATCHED, t.READY)
    run(ev.Committed("b"))
    assert run["c"] == t.READY, "main still works there"
    run(ev.MainWaits(1))
    assert run["c"] == t.DISPATCHED


def test_devices_and_images_are_classes_of_workers() -> None:
    run = Run(Step("a", (2,)), cells=(CellPlan(2, gpu=1),))
    run(ev.WorkerJoined("w1", cpu=8))
    assert run["a"] == t.READY
    assert t.waiting(run.state)["a"] == "waits for a worker with 1 gpu and image any"
    run(ev.WorkerJoined("w2", cpu=8, gpu=1))
    assert run["a"] == t.DISPATCHED


def test_main_gives_its_processor_away_while_it_waits() -> None:
    run = Run(Step("a", (2,)))
    run(ev.WorkerJoined("w", cpu=1))
    assert run["a"] == t.READY
    run(ev.MainWaits(1))
    assert run["a"] == t.DISPATCHED


def test_a_broken_assumption_restarts_main_in_order_from_the_culprit() -> None:
    run = Run(Step("a", (2,)), Step("b", (4,)), Step("c", (6,)))
    run(ev.WorkerJoined("w", cpu=9))
    run(ev.Committed("c"))
    run(ev.Mispredicted("b", 1, 3, "cell 3 changed df"))
    assert run.of(ev.RestartMain) == [ev.RestartMain(3, ("b", "c"), "cell 3 changed df")]
    assert (run["a"], run["b"], run["c"]) == (t.DISPATCHED, t.CANCELLED, t.COMMITTED)


def test_a_value_that_cannot_travel_moves_the_work_to_main() -> None:
    run = Run(Step("a", (2,)), Step("b", (4,)), cells=(CellPlan(4, before=(2,)),))
    run(ev.WorkerJoined("w", cpu=9))
    run(ev.Unshippable("a", 1, "handle", "an open file"))
    assert run.of(ev.MoveToMain) == [
        ev.MoveToMain("a", (2,), "`handle` cannot leave its kernel: an open file")
    ]
    assert run["b"] == t.PENDING
    run(ev.MainPassed(2))
    assert run["b"] == t.DISPATCHED


def test_an_exception_ahead_of_unfinished_cells_runs_once_more_in_order(run: Run) -> None:
    run(ev.Failed("a", 1, "user", "KeyError", early=True))
    assert run.of(ev.MoveToMain) == [ev.MoveToMain("a", (2,), "KeyError")]


def test_cancel_stops_everything(run: Run) -> None:
    commands = run(ev.Cancel("interrupted"))
    assert {c.task for c in commands if isinstance(c, ev.Abandon)} == {"main", "a", "b"}
    assert commands[-1] == ev.RunEnded(ok=False)
    assert run(ev.Committed("a")) == []


def test_the_run_ends_with_its_main_line(run: Run) -> None:
    run(ev.Committed("a"))
    run(ev.Committed("b"))
    assert run(ev.Committed("main"))[-1] == ev.RunEnded(ok=True)
    assert run.state.ended


def test_a_snapshot_comes_back_equal(run: Run) -> None:
    run(ev.Started("a", 1))
    run(ev.Failed("b", 1, "memory", peak=7))
    text = json.dumps(to_json(run.state))
    assert from_json(State, json.loads(text)) == run.state


def test_wakes_are_asked_for_once(run: Run) -> None:
    assert run.of(ev.Wake)
    assert not [c for c in run(ev.Tick()) if isinstance(c, ev.Wake)]
