"""The fold of one run in a server: events come in from agents, commands go out as letters in their boxes.

Everything is under one lock, and nothing is waited for under it but a bell. What is kept here is liveness only: a server
that starts again makes it anew from the store's records and from what the agents say when they join.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from jup2kub.engine import events as ev
from jup2kub.engine.budgets import INFRASTRUCTURE, KINDS_OF_LOSS, MEMORY, Config
from jup2kub.engine.server import views
from jup2kub.engine.server.boxes import Box, Letter
from jup2kub.engine.server.shares import Shares, task_of
from jup2kub.engine.server.spent import Spent
from jup2kub.engine.state import advance
from jup2kub.engine.tasks import LOST, MAIN, by_cell
from jup2kub.errors import StoreProblem
from jup2kub.model.job import Job
from jup2kub.store import BlobRef, Record, Slot, Store

STORY = 20_000
"""Events of the log that are kept."""
REJOIN = 6.0
"""Seconds in which agents that are there join a server that has started again."""


class Desk:
    """`clock` gives seconds that only grow. Methods are safe for threads."""

    def __init__(
        self,
        store: Store,
        run: str,
        job: Job,
        where: BlobRef,
        config: Config,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        round_: int = 0,
    ) -> None:
        self.store, self.run, self.job, self.where = store, run, job, where
        self.end = Slot(run, MAIN, 0, round_)
        """Where the main line commits. A run that had ended and goes on, by a new job, ends in the next generation."""
        self._clock, self._chance = clock, chance or random.Random(run)
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        self.boxes: dict[str, Box] = {}
        self.specs: dict[str, Letter] = {}
        self.shares = Shares(self)
        self._last: dict[str, Any] = {}
        """What the latest attempt of each task reported when it ended."""
        self._main_at: int | None = None
        self.story: list[Letter] = []
        self._told = int(time.time() * 1000)
        """Number of the last event: those of a later server of the run are always higher."""
        self.wake = 0.0
        self._settled_at = 0.0
        """When all agents of an earlier server have had time to join."""
        self.good = False
        """The notebook has run to its end."""
        self.ended: bool | None = None
        """None = it goes on; else whether the main line committed."""
        self.left_pods: set[str] = set()
        """Pods of agents that were here, and are not any more."""
        self.waits: dict[str, str] = {}
        """What pods wait for, in words."""
        self.rung: Callable[[], None] = lambda: None
        """Called, under the lock, when there is something to tell."""
        self._spent = Spent(store, run, round_)
        self.state, self._deaths = self._spent.restore(by_cell(job.plan, config))
        self._restore()

    def _restore(self) -> None:
        """Take over what an earlier server of this run has left in the store."""
        epoch = self.store.last_epoch(self.run)
        if epoch:
            self._settled_at = self._clock() + REJOIN
            # The agent that has the main line may be there still: it is given time to say so.
            main = self.state.tasks[MAIN]
            until = self._clock() + self.state.config.silence_seconds
            number = max(epoch, main.number)
            lost = replace(main, state=LOST, until=until, number=number, reason="the run server was away")
            self.state = replace(self.state, tasks={**self.state.tasks, MAIN: lost})
        for slot, record in self.store.records(self.run).items():
            self.committed(slot, record)

    # -- the fold ------------------------------------------------------------------------------------------------

    def apply(self, event: ev.Event) -> None:
        """Let something have happened, and do what follows from it."""
        with self.lock:
            self.state, commands = advance(self.state, event, self._clock())
            for command in commands:
                self._do(command)
            self._spent.note(self.state, self._deaths)

    def tick(self) -> float:
        """Let time have passed; return the seconds until that may matter again, at most one."""
        with self.lock:
            if self.wake and self._clock() >= self.wake:
                self.wake = 0.0
                self.apply(ev.Tick(self._chance.random()))
            return min(1.0, max(0.01, self.wake - self._clock())) if self.wake else 1.0

    def committed(self, slot: Slot, record: Record) -> None:
        """A record holds in a slot: it beats whatever else is said of its task."""
        task = task_of(slot)
        if slot.run == self.run and task in self.state.tasks:
            if slot.step == MAIN and slot != self.end:
                return
            ok = record.get("status") == "ok"
            self.good = self.good or (ok and slot.step == MAIN)
            if ok or slot.step == MAIN:
                self.apply(ev.Committed(task, str(slot.generation), ok))

    def _do(self, command: ev.Command) -> None:
        if isinstance(command, ev.Dispatch):
            letter = self._main() if command.task == MAIN else self.specs.get(command.task, {})
            fields = {"do": "start", "task": command.task, "attempt": command.attempt}
            self._write(command.worker, {**letter, **fields, "memory": command.memory})
            self._tell_again(command.task, command.attempt)
        elif isinstance(command, ev.Abandon):
            if command.task == MAIN and self._main_at is not None:
                cell = str(self._main_at)
                self._deaths[cell] = self._deaths.get(cell, 0) + 1
                self._main_at = None
            fields = {"do": "abandon", "task": command.task, "attempt": command.attempt}
            self._write(command.worker, {**fields, "reason": command.reason})
        elif isinstance(command, ev.Settled):
            self.settle(command.task)
        elif isinstance(command, ev.Wake):
            self.wake = command.at
        elif isinstance(command, ev.RunEnded):
            self.ended = command.ok
            self.write_all({"do": "leave"})
            self._news.notify_all()
            self.rung()

    def _tell_again(self, task: str, attempt: int) -> None:
        """Say that a task is tried once more, and why."""
        known = self.state.tasks[task]
        if attempt > 1 and sum(known.spent.values()) + len(known.attempts) > 1:
            cell = None if task == MAIN else known.cells[0]
            what = "the main line" if task == MAIN else "a part of its loop" if known.owner else "it"
            why = known.reason or "nothing is heard of the attempt before"
            self._tell({"kind": "retry", "cell": cell, "text": f"{why}; {what} runs again"})

    def _main(self) -> Letter:
        spent = self.state.tasks[MAIN].spent.get(MEMORY, 0)
        return {"deaths": self._deaths, "last_memory": spent >= self.state.config.memory}

    def settle(self, task: str) -> None:
        """Tell the main line, wherever it is, that a task has reached its last state."""
        known = self.state.tasks[task]
        letter = {
            "do": "settled",
            "task": task,
            "turn": known.turn,
            "state": known.state,
            "reason": known.reason,
            "outcome": self._last.get(task),
        }
        for attempt in self.state.tasks[known.owner or MAIN].attempts:
            self._write(attempt.worker, letter)

    def write_all(self, letter: Letter) -> None:
        """Write to every agent."""
        for worker in self.boxes:
            self._write(worker, letter)

    def _write(self, worker: str, letter: Letter) -> None:
        box = self.boxes.get(worker)
        if box is not None:
            box.written += 1
            box.letters.append({**letter, "number": box.written})
            box.bell.notify_all()

    # -- agents --------------------------------------------------------------------------------------------------

    def join(self, body: Mapping[str, Any]) -> Any:
        """An agent offers its capacity, and says what it has under way."""
        with self.lock:
            worker = str(body["worker"])
            if worker not in self.boxes:
                self.boxes[worker] = Box(threading.Condition(self.lock), dict(body))
            if self.ended is not None:
                self._write(worker, {"do": "leave"})
            running = tuple((str(task), int(attempt)) for task, attempt, _ in body["running"])
            self.shares.claim(worker, running)
            if worker in self.state.workers:
                for task, attempt in running:
                    self.apply(ev.Resumed(worker, task, attempt))
            else:
                offer = (body["image"], body["cpu"], body["memory"], body["gpu"])
                self.apply(ev.WorkerJoined(worker, *offer, running))
            return {
                "run": self.run,
                "job": {"sha256": self.where.sha256, "bytes": self.where.bytes},
                "round": self.end.generation,
                "beat": self.state.config.silence_seconds / 3,
            }

    def poll(self, body: Mapping[str, Any]) -> Any:
        """Return the letters to an agent that it has not acknowledged; wait for one, `wait` seconds at most."""
        with self.lock:
            box = self._box(body)
            box.letters = [letter for letter in box.letters if letter["number"] > body["acked"]]
            if not box.letters:
                box.bell.wait(min(60.0, float(body["wait"])))
            return {"letters": list(box.letters)}

    def beat(self, body: Mapping[str, Any]) -> Any:
        """An agent is alive."""
        with self.lock:
            box = self._box(body)
            box.about = {**box.about, **body.get("about", {})}
            self.apply(ev.Heartbeat(str(body["worker"])))
            return {}

    def _box(self, body: Mapping[str, Any]) -> Box:
        box = self.boxes.get(str(body["worker"]))
        if box is None:
            raise StoreProblem(
                "J2K524", "the run server does not know this agent", "it joins again by itself"
            )
        return box

    def left(self, worker: str, reason: str, kind: str = "infrastructure") -> None:
        """An agent is gone for good, in the words of whoever watches its process."""
        with self.lock:
            self.apply(ev.WorkerLeft(worker, reason, self._chance.random(), kind))
            box = self.boxes.pop(worker, None)
            if box is not None:
                self.left_pods.add(str(box.about.get("about", {}).get("pod")))

    def leave(self, body: Mapping[str, Any]) -> Any:
        """An agent goes by itself, with nothing under way."""
        self.left(str(body["worker"]), str(body.get("reason", "")))
        return {}

    def report(self, body: Mapping[str, Any]) -> Any:
        """Take what an agent says has happened; what was taken before is passed over."""
        with self.lock:
            box = self._box(body)
            for event in body["events"]:
                if event["number"] > box.heard:
                    box.heard = event["number"]
                    self._take(str(body["worker"]), event)
            return {}

    def _take(self, worker: str, event: Mapping[str, Any]) -> None:
        kind, task, attempt = event["event"], event.get("task", MAIN), int(event.get("attempt", 0))
        if kind == "started":
            self.apply(ev.Started(task, attempt))
        elif kind == "ended":
            self._ended(task, attempt, event["outcome"])
        elif kind == "waits":
            self.apply(ev.MainWaits(attempt, bool(event["waiting"]), task))
        elif kind == "cores":
            self.apply(ev.CoresTaken(task, attempt, float(event["cores"])))
        elif kind == "told":
            if event["told"]["kind"] == "start" and event["told"]["where"] == "main":
                self._main_at = event["told"]["cell"]
            self._tell({"worker": worker, "task": task, "attempt": attempt, **event["told"]})

    def _ended(self, task: str, attempt: int, outcome: Mapping[str, Any]) -> None:
        kind, chance, reason = outcome["kind"], self._chance.random(), str(outcome.get("reason", ""))
        if kind == "done":
            slot = self.shares.slot(task, int(outcome["generation"]))
            record = self.store.record(slot)
            if record is not None:
                self.committed(slot, record)
            else:
                self.apply(
                    ev.Failed(task, attempt, "infrastructure", "its commit is not there", jitter=chance)
                )
            return
        self._last[task] = outcome
        if kind == "raised":
            self.apply(ev.Failed(task, attempt, "user", "it raised", bool(outcome["early"]), jitter=chance))
        elif kind == "lost":
            self._tell({"kind": "retry", "cell": outcome.get("cell"), "where": "step", "text": reason})
            budget, peak = KINDS_OF_LOSS.get(outcome["cause"], INFRASTRUCTURE), int(outcome.get("peak", 0))
            self.apply(ev.Failed(task, attempt, budget, reason, peak=peak, jitter=chance))
        elif kind == "mispredicted":
            self.apply(ev.Mispredicted(task, attempt, int(outcome["cell"]), reason))
        else:
            self.apply(ev.Unshippable(task, attempt, "", reason))

    # -- the main line -------------------------------------------------------------------------------------------

    def send(self, body: Mapping[str, Any]) -> Any:
        """The main line sends a cell away."""
        with self.lock:
            task, turn = str(body["task"]), int(body["turn"])
            slot = Slot(self.run, task, 0, int(body["generation"]))
            self.specs[task] = {k: v for k, v in body.items() if k not in ("worker", "task")}
            needs = tuple(f"cell-{i['cell']}" for i in body["inputs"] if i["near"])
            there = self.store.record(slot) is not None
            self._last.pop(task, None)
            cpu, record = float(body.get("cpu", 1.0)), str(slot.generation) if there else ""
            self.apply(ev.Sent(task, needs, turn, cpu, self.hold(), record))
            return {}

    def hold(self) -> float:
        """Return how long a cell is held back: after a server has started again, agents join one after the other."""
        return max(0.0, self._settled_at - self._clock())

    def withdraw(self, body: Mapping[str, Any]) -> Any:
        """The main line wants tasks no more."""
        for task in body["tasks"]:
            self.apply(ev.Withdrawn(str(task), int(body["turn"])))
        return {}

    def computes(self) -> bool:
        """Return whether some attempt is under way that does not itself wait for others."""
        with self.lock:
            return any(not a.waiting for t in self.state.tasks.values() for a in t.attempts if not a.silent)

    def ask_to_leave(self, workers: Iterable[str]) -> None:
        """Let agents go that stand in the way of others."""
        with self.lock:
            for worker in workers:
                self._write(worker, {"do": "leave"})

    def pods(self) -> dict[str, str]:
        """Return the pods of the agents that are here, by the agents' names."""
        with self.lock:
            return {w: str(box.about.get("about", {}).get("pod", "")) for w, box in self.boxes.items()}

    # -- the user ------------------------------------------------------------------------------------------------

    def _tell(self, what: Letter) -> None:
        self._told += 1
        self.story.append({"number": self._told, "at": time.time(), **what})
        del self.story[: max(0, len(self.story) - STORY)]
        self._news.notify_all()
        self.rung()

    def note(self, text: str) -> None:
        """Tell the user something about the run as a whole."""
        with self.lock:
            self._tell({"kind": "note", "text": text})

    def give_up(self, reason: str) -> None:
        """End a run that can never get what it needs; what was committed stays, and `run` again continues."""
        self.apply(ev.Cancel(reason))

    def events(self, body: Mapping[str, Any]) -> Any:
        """Return what was told after event number `after`; wait for it, `wait` seconds at most."""
        with self.lock:
            after = int(body["after"])
            if self._told <= after and self.ended is None:
                self._news.wait(min(60.0, float(body["wait"])))
            skip = max(0, len(self.story) - max(0, self._told - after))
            return {"events": self.story[skip:], "last": self._told, "ended": self.ended}

    def status(self, body: Mapping[str, Any]) -> Any:
        """Return the tasks, the agents, and what is waited for, as JSON."""
        with self.lock:
            now = self._clock()
            here = [a for a in views.agents(self.state, now) if a["worker"] in self.boxes]
            return {
                "run": self.run,
                "name": self.job.name,
                "ended": self.ended,
                "tasks": views.tasks(self.state, now),
                "agents": [{**a, **self.boxes[a["worker"]].about} for a in here],
                "waits": self.waits,
            }

    def cancel(self, body: Mapping[str, Any]) -> Any:
        """Stop the run: whatever still works cannot commit any more."""
        reason = str(body.get("reason", "cancelled"))
        self.store.cancel(self.run, {"reason": reason})
        self.apply(ev.Cancel(reason))
        return {}

    def result(self, body: Mapping[str, Any]) -> Any:
        """Return the record of the main line, and why there is none where there is none."""
        with self.lock:
            record = self.store.record(self.end)
            return {"ended": self.ended, "record": record, "reason": self.state.tasks[MAIN].reason}
