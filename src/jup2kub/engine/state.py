"""The state machine of a run: a pure fold of events, without clock, I/O or chance.

    PENDING → READY → DISPATCHED → RUNNING → PERSISTING → COMMITTED
    RETRY_WAIT, LOST: waits, then READY again      SUSPECT: silent, offered again, the first commit wins
    QUARANTINED: failed for good; dependants BLOCKED      CANCELLED: stopped, or its work moved to main

A commit seen in the store beats every other event. Whatever an attempt reports that is not alive any more (a zombie)
is ignored. Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

from dataclasses import replace

from jup2kub.engine import events as ev
from jup2kub.engine.budgets import HANG, INFRASTRUCTURE, KINDS, MEMORY, STORAGE, more_memory, spend
from jup2kub.engine.sharing import gathered, spread
from jup2kub.engine.tasks import (
    BLOCKED,
    CANCELLED,
    COMMITTED,
    DISPATCHED,
    LOST,
    MAIN,
    PENDING,
    PERSISTING,
    QUARANTINED,
    READY,
    RETRY_WAIT,
    RUNNING,
    SUSPECT,
    TERMINAL,
    Attempt,
    State,
    Task,
    Worker,
    emptiest,
    fits,
    initial,
    next_wake,
    shown,
)

__all__ = ["State", "advance", "initial"]


def advance(state: State, event: ev.Event, now: float) -> tuple[State, tuple[ev.Command, ...]]:
    """Return the next state and what must be done. `now`: seconds, never less than at the last call."""
    if state.ended:
        return state, ()
    fold = _Fold(state, now)
    fold.take(event)
    fold.settle()
    return fold.result()


class _Fold:
    """One call of `advance`: working copies of the maps, and the commands so far."""

    def __init__(self, state: State, now: float) -> None:
        self.old, self.config, self.now = state, state.config, now
        self.tasks: dict[str, Task] = dict(state.tasks)
        self.workers: dict[str, Worker] = dict(state.workers)
        self.gone, self.passed, self.order_from = state.gone, state.passed, state.order_from
        self.commands: list[ev.Command] = []

    def result(self) -> tuple[State, tuple[ev.Command, ...]]:
        ended = all(t.state in TERMINAL for t in self.tasks.values())
        wake = next_wake(self.tasks.values(), self.config)
        if ended:
            ok = all(t.state == COMMITTED or t.state == CANCELLED or t.owner for t in self.tasks.values())
            self.commands.append(ev.RunEnded(ok and self.tasks[MAIN].state == COMMITTED))
        elif wake and wake != self.old.wake:
            self.commands.append(ev.Wake(wake))
        state = State(
            self.config,
            self.tasks,
            self.workers,
            self.gone,
            self.passed,
            self.order_from,
            ended,
            0.0 if ended else wake,
        )
        return state, tuple(self.commands)

    # -- events ------------------------------------------------------------------------------------------------------

    def take(self, event: ev.Event) -> None:
        if isinstance(event, ev.WorkerJoined):
            self._joined(event)
        elif isinstance(event, ev.WorkerLeft):
            self._left(event)
        elif isinstance(event, ev.Resumed):
            self._resumed(event)
        elif isinstance(event, ev.Sent):
            self._sent(event)
        elif isinstance(event, ev.Withdrawn):
            if event.task in self.tasks and self.tasks[event.task].turn <= event.turn:
                self._end(event.task, CANCELLED, "the main line wants it no more")
        elif isinstance(event, ev.Heartbeat):
            self._heard(event.worker, event.task, event.attempt)
        elif isinstance(event, ev.Committed):
            self._committed(event)
        elif isinstance(event, ev.MainPassed):
            self.passed |= {event.cell}
        elif isinstance(event, ev.MainWaits):
            if event.task in self.tasks:
                self._change(event.task, event.attempt, waiting=event.waiting)
        elif isinstance(event, ev.Spread):
            self.tasks = spread(self.tasks, event, self.now)
        elif isinstance(event, ev.Gathered):
            self.tasks, more = gathered(self.tasks, event)
            self.commands += more
        elif isinstance(event, ev.CoresTaken):
            if self._live(event.task, event.attempt):
                self._change(event.task, event.attempt, cores=event.cores)
        elif isinstance(event, ev.Cancel):
            for task in list(self.tasks.values()):
                self._end(task.id, CANCELLED, event.reason)
        elif isinstance(event, ev.Tick):
            self._time(event.jitter)
        else:
            self._reported(event)

    def _reported(self, event: ev.Event) -> None:
        """Take what an attempt says of itself, if it is one of those alive."""
        if isinstance(event, (ev.Started, ev.Persisting)):
            self._moved_on(
                event.task, event.attempt, RUNNING if isinstance(event, ev.Started) else PERSISTING
            )
        elif isinstance(event, ev.Failed) and self._live(event.task, event.attempt):
            self._failed(event)
        elif isinstance(event, ev.Mispredicted) and self._live(event.task, event.attempt):
            self._mispredicted(event)
        elif isinstance(event, ev.Unshippable) and self._live(event.task, event.attempt):
            self._to_main(event.task, f"`{event.name}` cannot leave its kernel: {event.reason}")

    def _joined(self, event: ev.WorkerJoined) -> None:
        if event.worker not in self.gone:
            self.workers[event.worker] = Worker(
                event.worker, event.image, event.cpu, event.memory, event.gpu, self.now
            )
            self._heard(event.worker, "", 0)
            # Before anything is offered: it may be just what the worker has under way.
            for task, attempt in event.running:
                self._resumed(ev.Resumed(event.worker, task, attempt))

    def _left(self, event: ev.WorkerLeft) -> None:
        self.gone |= {event.worker}
        had = self._had(event.worker)
        self.workers.pop(event.worker, None)
        for task in list(self.tasks.values()):
            for attempt in task.attempts:
                if attempt.worker == event.worker:
                    reason = f"worker {event.worker} is gone" + (f": {event.reason}" if event.reason else "")
                    kind = event.kind if event.kind in KINDS else INFRASTRUCTURE
                    self._grow(task.id, kind, had)
                    self._drop(task.id, attempt.number, kind, reason, event.jitter, LOST)

    def _resumed(self, event: ev.Resumed) -> None:
        """Take an attempt that is under way as it is: work is not done again because a server was lost."""
        self._heard(event.worker, event.task, event.attempt)
        task = self.tasks.get(event.task)
        if task is None or task.state in TERMINAL or event.worker not in self.workers:
            return
        if any(a.number == event.attempt and a.worker == event.worker for a in task.attempts):
            return
        for other in task.attempts:
            # Given out while nobody had heard of this one: what has run for longer goes on.
            if other.state == DISPATCHED or other.number == event.attempt:
                self.commands.append(ev.Abandon(task.id, other.number, other.worker, "one began before it"))
                rest = tuple(a for a in self.tasks[task.id].attempts if a != other)
                self.tasks[task.id] = replace(self.tasks[task.id], attempts=rest)
        task = self.tasks[task.id]
        live = Attempt(event.attempt, event.worker, self.now, self.now, event.state, task.memory)
        number = max(task.number, event.attempt)
        self.tasks[task.id] = shown(replace(task, attempts=(*task.attempts, live), number=number, until=0.0))

    def _sent(self, event: ev.Sent) -> None:
        task = self.tasks.get(event.task)
        if task is None or task.id == MAIN or event.turn <= task.turn:
            return
        if task.state in TERMINAL:
            task = replace(task, state=PENDING, attempts=(), record="", reason="")
        needs = tuple(n for n in event.needs if n in self.tasks and n != task.id)
        self.tasks[task.id] = replace(task, needs=needs, turn=event.turn, cpu=event.cpu)
        self.passed |= frozenset(task.cells)
        if event.record:
            # It ended after the main line had looked, or while the server that it was sent through was away.
            self._committed(ev.Committed(task.id, event.record))
        elif event.wait and not task.attempts:
            held = replace(self.tasks[task.id], state=LOST, until=self.now + event.wait)
            self.tasks[task.id] = held

    def _heard(self, worker: str, task: str, attempt: int) -> None:
        if worker in self.workers:
            self.workers[worker] = replace(self.workers[worker], seen=self.now)
        for known in list(self.tasks.values()):
            for live in known.attempts:
                if live.worker == worker and (not task or (known.id, live.number) == (task, attempt)):
                    self._change(known.id, live.number, beat=self.now, silent=False)

    def _committed(self, event: ev.Committed) -> None:
        task = self.tasks.get(event.task)
        if task is None or task.state in TERMINAL:
            return
        self.tasks[task.id] = replace(task, record=event.record)
        self._end(task.id, COMMITTED, "" if event.ok else "ended with an exception")
        if task.id == MAIN:
            for other in list(self.tasks.values()):
                self._end(other.id, CANCELLED, "the main line has ended")

    def _moved_on(self, task: str, number: int, to: str) -> None:
        live = self._live(task, number)
        if live and (live.state, to) in (
            (DISPATCHED, RUNNING),
            (DISPATCHED, PERSISTING),
            (RUNNING, PERSISTING),
        ):
            self._change(task, number, state=to, since=self.now, beat=self.now, silent=False)

    def _failed(self, event: ev.Failed) -> None:
        kind = event.kind if event.kind in KINDS else INFRASTRUCTURE
        if event.early and kind == "user" and event.task != MAIN:
            self._to_main(event.task, event.reason or "it raised, and runs once more in order")
            return
        live = self._live(event.task, event.attempt)
        self._grow(event.task, kind, max(event.peak, self._had(live.worker) if live else 0))
        self._drop(event.task, event.attempt, kind, event.reason, event.jitter, RETRY_WAIT)

    def _had(self, worker: str) -> int:
        """Return the bytes that a worker of a class of its own has: what ran out there needs more; 0 = it is shared."""
        known = self.workers.get(worker)
        return known.memory if known is not None and self.config.strict else 0

    def _grow(self, name: str, kind: str, peak: int) -> None:
        """Give the next attempt more of what the last one lacked."""
        task = self.tasks[name]
        if kind == MEMORY:
            self.tasks[name] = replace(task, memory=more_memory(task.memory, peak, self.config))
        elif kind == STORAGE:
            self.tasks[name] = replace(task, storage=2 * task.storage)

    def _mispredicted(self, event: ev.Mispredicted) -> None:
        if 0 <= self.order_from <= event.cell:
            if event.task != MAIN:
                self._to_main(event.task, event.reason)
            return
        self.order_from = event.cell
        late = [t for t in self.tasks.values() if t.id != MAIN and max(t.cells) >= event.cell]
        for task in late:
            self._end(task.id, CANCELLED, f"from cell {event.cell} on everything runs in order")
        if event.task != MAIN and self.tasks[event.task].state not in TERMINAL:
            self._to_main(event.task, event.reason)
        dropped = tuple(t.id for t in late)
        self.commands.append(ev.RestartMain(event.cell, dropped, event.reason))

    def _time(self, jitter: float) -> None:
        for task in list(self.tasks.values()):
            for live in task.attempts:
                age, quiet, spec = self.now - live.since, self.now - live.beat, self.config
                if live.state == DISPATCHED and spec.start_seconds and age >= spec.start_seconds:
                    late = "it did not start in time"
                    self._drop(task.id, live.number, INFRASTRUCTURE, late, jitter, RETRY_WAIT)
                elif live.state != DISPATCHED and task.timeout and age >= task.timeout:
                    late = f"it ran longer than {task.timeout:g} s"
                    self._drop(task.id, live.number, HANG, late, jitter, RETRY_WAIT)
                elif spec.silence_seconds and quiet >= spec.silence_seconds and not live.silent:
                    self._change(task.id, live.number, silent=True)

    # -- tasks -------------------------------------------------------------------------------------------------------

    def _live(self, task: str, number: int) -> Attempt | None:
        known = self.tasks.get(task)
        return next((a for a in known.attempts if a.number == number), None) if known else None

    def _change(self, task: str, number: int, **changes: object) -> None:
        known = self.tasks[task]
        attempts = tuple(replace(a, **changes) if a.number == number else a for a in known.attempts)  # type: ignore[arg-type]
        self.tasks[task] = shown(replace(known, attempts=attempts))

    def _drop(self, task: str, number: int, kind: str, reason: str, jitter: float, then: str) -> None:
        """One attempt is over without a commit: pay from the budget of `kind`, and offer the task again or give up."""
        known, live = self.tasks[task], self._live(task, number)
        if live is None:
            return
        self.commands.append(ev.Abandon(task, number, live.worker, reason))
        rest = tuple(a for a in known.attempts if a.number != number)
        spent = spend(known.spent, kind)
        known = replace(known, attempts=rest, spent=spent, reason=reason)
        self.tasks[task] = known
        if spent[kind] > self.config.allowed(kind, known.retries):
            self._end(task, QUARANTINED, reason)
        elif rest:
            self.tasks[task] = shown(known)
        else:
            wait = self.config.wait(sum(spent.values()), jitter)
            self.tasks[task] = replace(known, state=then, until=self.now + wait)

    def _end(self, task: str, state: str, reason: str) -> None:
        """Bring a task to its last state, if it is not there yet."""
        known = self.tasks[task]
        if known.state in TERMINAL:
            return
        for live in known.attempts:
            self.commands.append(
                ev.Abandon(task, live.number, live.worker, reason or "another attempt was first")
            )
        self.tasks[task] = replace(known, state=state, attempts=(), reason=reason, until=0.0)
        self.commands.append(ev.Settled(task, state, reason))
        for chunk in [t.id for t in self.tasks.values() if t.owner == task]:
            self._end(chunk, CANCELLED, "the loop has ended")

    def _to_main(self, task: str, reason: str) -> None:
        if task == MAIN:
            return
        cells = self.tasks[task].cells
        self._end(task, CANCELLED, reason)
        self.commands.append(ev.MoveToMain(task, cells, reason))

    # -- what follows ------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        self._block()
        for task in list(self.tasks.values()):
            due = task.state in (RETRY_WAIT, LOST) and task.until <= self.now
            if due or task.state == PENDING:
                # What was held back when it was sent may need what is under way still.
                state = READY if self._ready(task) else PENDING
                if state != task.state:
                    self.tasks[task.id] = replace(task, state=state, until=0.0)
        if self._offered(self.tasks[MAIN]):
            self._offer(self.tasks[MAIN], "")
        # One worker gets nothing new while the main line waits until it can begin.
        waits = self._offered(self.tasks[MAIN])
        kept_free = emptiest(self.tasks, self._heard_of(), self.config.strict) if waits else ""
        for task in sorted(self.tasks.values(), key=lambda t: (-t.priority, t.id)):
            if task.id != MAIN and self._offered(task):
                self._offer(task, kept_free)

    def _block(self) -> None:
        """Block what depends on a task that failed for good; without a main line nothing goes on."""
        if self.tasks[MAIN].state == QUARANTINED:
            for task in list(self.tasks.values()):
                self._end(task.id, BLOCKED, "the main line failed")
        changed = True
        while changed:
            changed = False
            for task in list(self.tasks.values()):
                bad = [
                    n for n in task.needs if n in self.tasks and self.tasks[n].state in (QUARANTINED, BLOCKED)
                ]
                if bad and task.state not in TERMINAL:
                    self._end(task.id, BLOCKED, f"needs {bad[0]}, which failed")
                    changed = True

    def _ready(self, task: Task) -> bool:
        if not task.after <= self.passed:
            return False
        for need in task.needs:
            other = self.tasks.get(need)
            # The work of a cancelled step is main's.
            if (
                other
                and other.state != COMMITTED
                and not (other.state == CANCELLED and set(other.cells) <= self.passed)
            ):
                return False
        return True

    def _offer(self, task: Task, kept_free: str) -> None:
        held: set[str] = {a.worker for a in task.attempts}
        main = {a.worker for a in self.tasks[MAIN].attempts}
        # Beside the main line only where nothing else is free: it will want its processor back.
        for worker in sorted(self._heard_of(), key=lambda w: (w.id in main, w.id)):
            if worker.id in held or worker.id == kept_free:
                continue
            if fits(worker, task, self.tasks.values(), self.config.strict):
                break
        else:
            return
        # A second attempt beside a silent one costs as much as a loss: a worker that is often silent is a lost one.
        spent = spend(task.spent, INFRASTRUCTURE) if task.state == SUSPECT else task.spent
        number = task.number + 1
        attempt = Attempt(number, worker.id, self.now, self.now, memory=task.memory)
        self.tasks[task.id] = shown(
            replace(task, attempts=(*task.attempts, attempt), number=number, spent=spent)
        )
        self.commands.append(ev.Dispatch(task.id, number, worker.id, task.memory, task.storage))

    def _offered(self, task: Task) -> bool:
        """Whether a task is to be given to a worker."""
        spent = task.spent.get(INFRASTRUCTURE, 0)
        return task.state == READY or (task.state == SUSPECT and spent < self.config.infrastructure)

    def _heard_of(self) -> list[Worker]:
        limit = self.config.silence_seconds
        return [w for w in self.workers.values() if not limit or self.now - w.seen < limit]
