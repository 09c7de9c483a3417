"""The nouns of the state machine: tasks, attempts, workers, and the state of a run made of them.

Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from jup2kub.engine.budgets import Config
from jup2kub.model.plan import Plan

PENDING, READY, DISPATCHED, RUNNING, PERSISTING = "PENDING", "READY", "DISPATCHED", "RUNNING", "PERSISTING"
RETRY_WAIT, LOST, SUSPECT = "RETRY_WAIT", "LOST", "SUSPECT"
COMMITTED, QUARANTINED, BLOCKED, CANCELLED = "COMMITTED", "QUARANTINED", "BLOCKED", "CANCELLED"
TERMINAL = frozenset({COMMITTED, QUARANTINED, BLOCKED, CANCELLED})
MAIN = "main"


@dataclass(frozen=True)
class Attempt:
    """One live execution of a task."""

    number: int
    worker: str
    since: float
    """When it was dispatched, then when it started."""
    beat: float
    """When it was last heard of."""
    state: str = DISPATCHED
    memory: int = 0
    """Bytes admitted for it."""
    silent: bool = False
    waiting: bool = False
    """It waits for others, and takes no processor."""
    cores: float = 0.0
    """Processors it uses while iterations of a loop run side by side; 0 = as many as its task asks for."""


@dataclass(frozen=True)
class Task:
    """The main line or a step."""

    id: str
    cells: tuple[int, ...]
    needs: tuple[str, ...] = ()
    """Steps that must have committed (or have been run by main) before."""
    after: frozenset[int] = frozenset()
    """Cells that main must have passed before."""
    priority: float = 0.0
    """Higher goes first."""
    image: str = ""
    """Class of workers that may run it; empty = any."""
    cpu: float = 1.0
    memory: int = 0
    """Predicted peak, bytes; 0 = not known."""
    gpu: int = 0
    timeout: float = 0.0
    """Seconds one attempt may run; 0 = no limit."""
    retries: int = -1
    """Retries of an error of the user's code; -1 = as configured."""
    state: str = PENDING
    attempts: tuple[Attempt, ...] = ()
    """Those alive; more than one only while an earlier one is silent."""
    number: int = 0
    """Attempts made so far."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """Failures by kind."""
    until: float = 0.0
    """In RETRY_WAIT and LOST: when it is offered again."""
    storage: int = 1
    record: str = ""
    reason: str = ""
    """Why it is in this state, in words."""
    turn: int = 0
    """The latest sending by the main line, where it sends tasks one by one; 0 = none yet."""
    owner: str = ""
    """Of a chunk: the task that runs the loop, and makes up for a chunk that fails; empty = it is no chunk."""


@dataclass(frozen=True)
class Worker:
    """Capacity of one class."""

    id: str
    image: str
    cpu: float
    memory: int
    gpu: int
    seen: float


@dataclass(frozen=True)
class State:
    """All that the fold knows; its JSON is `kit.canon.to_json`, and `kit.canon.from_json(State, …)` brings it back."""

    config: Config
    tasks: Mapping[str, Task]
    workers: Mapping[str, Worker] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    """Workers that left: they never come back."""
    passed: frozenset[int] = frozenset()
    """Cells that main has finished."""
    order_from: int = -1
    """From this cell on everything runs in main, in notebook order; -1 = the plan holds."""
    ended: bool = False
    wake: float = 0.0
    """When the last Wake was asked for; 0 = none is due."""


def initial(plan: Plan, config: Config) -> State:
    """Return the state of a run of `plan` before anything has happened."""
    owner = {i: s.id for s in plan.steps if s.kind == "cells" for i in s.cells}
    cells = {c.index: c for c in plan.cells}
    tasks = {MAIN: Task(MAIN, plan.main, priority=float("1e9"), cpu=config.main_cpu)}
    for step in plan.steps:
        if step.kind != "cells":
            continue
        before = {j for i in step.cells for j in cells[i].before} | set(step.loads.values())
        outside = before - set(step.cells) - set(step.replays)
        own = [cells[i] for i in step.cells]
        tasks[step.id] = Task(
            step.id,
            step.cells,
            needs=tuple(sorted({owner[j] for j in outside if j in owner})),
            after=frozenset(j for j in outside if j not in owner),
            priority=-float(step.cells[0]),
            cpu=max([c.cpu for c in own if c.cpu] or [1.0]),
            memory=max([c.memory for c in own if c.memory] or [0]),
            gpu=max([c.gpu for c in own if c.gpu] or [0]),
            timeout=sum(c.timeout for c in own if c.timeout) if all(c.timeout for c in own) else 0.0,
            retries=max([c.retries for c in own if c.retries is not None] or [-1]),
        )
    return State(config, tasks)


def by_cell(plan: Plan, config: Config) -> State:
    """Return the state of a run of `plan` in which every cell is a task of its own, sent away when main has come to it."""
    state = initial(plan, config)
    owner = {i: s.id for s in plan.steps if s.kind == "cells" for i in s.cells}
    steps = {
        f"cell-{c.index}": replace(
            state.tasks[owner.get(c.index, MAIN)],
            id=f"cell-{c.index}",
            cells=(c.index,),
            needs=(),
            after=frozenset({c.index}),
            timeout=0.0,
            priority=-float(c.index),
        )
        for c in plan.cells
    }
    return replace(state, tasks={MAIN: state.tasks[MAIN], **steps})


def free(state: State, worker: str) -> tuple[float, int, int]:
    """Return the cores, bytes and devices that no live attempt of `worker` holds; negative = more is held."""
    have = state.workers[worker]
    return left(have, state.tasks.values())


def lend(state: State, worker: str, task: str, attempt: int, wanted: int) -> int:
    """Return how many processors, of `wanted` in all, the attempt may use: those that nobody else holds, at least one."""
    known = state.tasks[task]
    live = next((a for a in known.attempts if a.number == attempt), None)
    if live is None or not wanted:
        return 0
    own = live.cores or known.cpu
    return max(1, min(wanted, int(own + free(state, worker)[0])))


def waiting(state: State) -> Mapping[str, str]:
    """Return for each READY task, in words, what it waits for."""
    return {
        t.id: "waits for a free worker"
        if any(suits(w, t, state.config.strict) for w in state.workers.values())
        else f"waits for a worker with {t.gpu} gpu and image {t.image or 'any'}"
        for t in state.tasks.values()
        if t.state == READY
    }


def suits(worker: Worker, task: Task, strict: bool = False) -> bool:
    """Return whether `worker` is of the class that `task` wants, busy or not; `strict`: its memory counts too."""
    roomy = not strict or not worker.memory or task.memory <= worker.memory
    return roomy and (not task.image or task.image == worker.image) and task.gpu <= worker.gpu


def fits(worker: Worker, task: Task, tasks: Iterable[Task], strict: bool) -> bool:
    """Return whether the task may start there beside the live attempts of `tasks`.

    Alone it always may, for a prediction can be wrong; a device cannot be shared. The main line begins alone: it makes the
    project's folder there what it was at the beginning, and nobody else may be at work in it.
    """
    tasks = tuple(tasks)
    cpu, memory, gpu = left(worker, tasks)
    if not suits(worker, task, strict) or task.gpu > gpu:
        return False
    here = [a for t in tasks for a in t.attempts if a.worker == worker.id]
    if task.id == MAIN:
        return not here
    if all(a.waiting for a in here):
        return True
    return task.cpu <= cpu and (not worker.memory or task.memory <= memory)


def emptiest(tasks: Mapping[str, Task], workers: Iterable[Worker], strict: bool) -> str:
    """Return the worker that will soonest be free for one more attempt of the main line; empty = there is none."""
    busy = Counter(a.worker for t in tasks.values() for a in t.attempts)
    held = {a.worker for a in tasks[MAIN].attempts}
    suited = [w.id for w in workers if w.id not in held and suits(w, tasks[MAIN], strict)]
    return min(suited, key=lambda w: (busy[w], w), default="")


def left(worker: Worker, tasks: Iterable[Task]) -> tuple[float, int, int]:
    """Return what the live attempts of `tasks` leave of `worker`: cores, bytes, devices."""
    cpu, memory, gpu = worker.cpu, worker.memory, worker.gpu
    for task in tasks:
        for attempt in task.attempts:
            if attempt.worker == worker.id:
                cpu -= 0.0 if attempt.waiting else attempt.cores or task.cpu
                memory -= attempt.memory
                gpu -= task.gpu
    return cpu, memory, gpu


def shown(task: Task) -> Task:
    """Return the task in the state that its live attempts put it in."""
    if not task.attempts or task.state in TERMINAL:
        return task
    speaking = [a for a in task.attempts if not a.silent]
    if not speaking:
        return replace(task, state=SUSPECT)
    order = (DISPATCHED, RUNNING, PERSISTING)
    return replace(task, state=max((a.state for a in speaking), key=order.index))


def next_wake(tasks: Iterable[Task], config: Config) -> float:
    """Return when time alone will change something; 0 = never."""
    times = []
    for task in tasks:
        if task.state in (RETRY_WAIT, LOST):
            times.append(task.until)
        for live in task.attempts:
            if live.state == DISPATCHED and config.start_seconds:
                times.append(live.since + config.start_seconds)
            if live.state != DISPATCHED and task.timeout:
                times.append(live.since + task.timeout)
            if config.silence_seconds and not live.silent:
                times.append(live.beat + config.silence_seconds)
    return min(times, default=0.0)
