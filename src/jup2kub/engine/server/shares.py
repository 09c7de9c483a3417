"""Chunks of loops at a desk: whoever runs a loop sends them, any agent runs one, and who sent them is told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Dict, Protocol, Tuple

from jup2kub.engine import events as ev
from jup2kub.engine.sharing import LOOP
from jup2kub.engine.tasks import COMMITTED, TERMINAL, State
from jup2kub.store import Record, Slot, Store

Body = Mapping[str, Any]


def task_of(slot: Slot) -> str:
    """Return the task whose commit lies in a slot: a step, or a chunk of a loop, in whose order they sort."""
    return f"{slot.step}.{slot.generation}.{slot.chunk:05}" if slot.step.startswith(LOOP) else slot.step


class Counter(Protocol):
    """What chunks need of a desk."""

    store: Store
    run: str
    lock: threading.RLock
    specs: Dict[str, Body]
    """By task: what its agent is told."""
    state: State

    def apply(self, event: ev.Event) -> None:
        """Let something have happened."""

    def committed(self, slot: Slot, record: Record) -> None:
        """A record holds in a slot."""

    def settle(self, task: str) -> None:
        """Tell who waits that a task has reached its last state."""

    def hold(self) -> float:
        """Return the seconds for which nothing is offered, because agents may still say what they have under way."""

    def write_all(self, letter: Body) -> None:
        """Write to every agent."""


class Shares:
    """The chunks that are known at a desk."""

    def __init__(self, desk: Counter) -> None:
        self._desk = desk
        self._slots: dict[str, Slot] = {}
        self._over: dict[str, int] = {}
        """Loops that are done, with the turn of their last sending: an earlier word may come late."""
        self._claims: dict[str, Tuple[str, int]] = {}
        """Attempts that agents say they have under way, of chunks that nobody has sent yet."""

    def slot(self, task: str, generation: int) -> Slot:
        """Return where an attempt of the task commits."""
        return self._slots.get(task) or Slot(self._desk.run, task, 0, generation)

    def claim(self, worker: str, running: Tuple[Tuple[str, int], ...]) -> None:
        """An agent has attempts under way; of chunks among them, who waits for these may not have said so yet."""
        for task, attempt in running:
            if task.startswith(LOOP) and task not in self._slots:
                self._claims[task] = (worker, attempt)

    def spread(self, body: Body) -> Any:
        """A task sends chunks of its loop away. Those that are committed are settled; those under way go on."""
        desk, cell, generation = self._desk, int(body["cell"]), int(body["generation"])
        with desk.lock:
            if int(body["turn"]) <= self._over.get(str(body["loop"]), -1):
                return {}
            names = []
            for number, start, stop in body["chunks"]:
                slot = Slot(desk.run, f"{LOOP}{cell}", int(number), generation)
                names.append(task_of(slot))
                self._slots[names[-1]] = slot
                desk.specs[names[-1]] = {
                    "loop": body["loop"],
                    "at": body["worker"],
                    "cell": cell,
                    "generation": generation,
                    "chunk": int(number),
                    "range": [int(start), int(stop)],
                    "letter": body["letter"],
                }
            hold, cpu = desk.hold(), float(body["cpu"])
            desk.apply(ev.Spread(str(body["owner"]), cell, tuple(names), int(body["turn"]), cpu, hold))
            for name in names:
                worker, attempt = self._claims.pop(name, ("", 0))
                record = desk.store.record(self._slots[name])
                if record is not None and desk.state.tasks[name].state != COMMITTED:
                    desk.committed(self._slots[name], record)
                elif worker:
                    desk.apply(ev.Resumed(worker, name, attempt))
                elif desk.state.tasks[name].state in TERMINAL:
                    desk.settle(name)
        return {}

    def gathered(self, body: Body) -> Any:
        """A loop is done."""
        desk, loop = self._desk, str(body["loop"])
        with desk.lock:
            self._over[loop] = max(int(body["turn"]), self._over.get(loop, -1))
            names = [n for n in self._slots if n.rpartition(".")[0] == loop]
            desk.apply(ev.Gathered(tuple(names), int(body["turn"])))
            for name in names:
                if name not in desk.state.tasks:
                    del self._slots[name], desk.specs[name]
            if not any(n in self._slots for n in names):
                desk.write_all({"do": "gathered", "loop": loop})
        return {}
