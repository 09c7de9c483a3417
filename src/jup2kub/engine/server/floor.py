"""The desks of one server: one for a notebook, or one for each parameter set of a sweep; and which agent sits at which.

An agent works for one desk at a time. When its desk has ended, or has nothing for it while another has work that waits, it
gets up and joins again. What several sets have in common is computed by the first that comes to it (`Flights`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jup2kub.engine.server.desk import Desk
from jup2kub.engine.tasks import READY, SUSPECT, State
from jup2kub.errors import StoreProblem

UNKNOWN = ("the run server does not know this agent", "it joins again by itself")
NO_JOB = ("the run server has no job yet: it comes after the project's files", "wait for it, or send one")


class Floor:
    """Safe for threads: seats are given under one lock, which is never held while a desk waits."""

    def __init__(self) -> None:
        self.desks: dict[int, Desk] = {}
        """By the number of the parameter set; 0 for a notebook alone."""
        self._seats: dict[str, Desk] = {}
        self._asked: set[str] = set()
        """Agents that were asked to go elsewhere."""
        self._lock = threading.Lock()
        self._bell = threading.Condition()
        self._rung = 0
        """How often some desk had something to tell."""
        self.heeded = 0
        """How many wait for it."""

    def add(self, number: int, desk: Desk) -> None:
        """Open the desk of a set."""
        desk.rung = self._ring
        self.desks[number] = desk
        self._ring()

    def _ring(self) -> None:
        with self._bell:
            self._rung += 1
            self._bell.notify_all()

    def of(self, body: Mapping[str, Any]) -> Desk:
        """Return the desk that a request is for: its agent's, or that of its `set`. Raises StoreProblem (J2K524)."""
        desk = (
            self._seats.get(str(body["worker"]))
            if "worker" in body
            else self.desks.get(int(body.get("set", 0)))
        )
        if desk is None:
            raise StoreProblem("J2K524", *(UNKNOWN if self.desks and "worker" in body else NO_JOB))
        return desk

    def news(self, body: Mapping[str, Any]) -> Any:
        """Return what was told in several sets, and which have ended: `after` is the number of the last event known, by set.

        Waits for it, `wait` seconds at most. Sets of which there is nothing new are not in the answer.
        """
        after = {int(number): int(last) for number, last in body["after"].items()}
        with self._bell:
            rung = self._rung
        found = self._fresh(after)
        if not found:
            with self._bell:
                self.heeded += 1
                self._bell.wait_for(lambda: self._rung != rung, min(60.0, float(body["wait"])))
                self.heeded -= 1
            found = self._fresh(after)
        return {"sets": found}

    def _fresh(self, after: Mapping[int, int]) -> dict[str, Any]:
        asked = {n: self.of({"set": n}).events({"after": last, "wait": 0}) for n, last in after.items()}
        return {str(n): told for n, told in asked.items() if told["events"] or told["ended"] is not None}

    def cancel(self, body: Mapping[str, Any]) -> Any:
        """Stop the run, with all its sets."""
        self.of({})
        for desk in list(self.desks.values()):
            desk.cancel(body)
        return {}

    def status(self, body: Mapping[str, Any]) -> Any:
        """Return the state of the run, or of one `set`; of a sweep as a whole also how far its sets are, as JSON."""
        first = self.of(body)
        if "set" in body or len(self.desks) == 1:
            return first.status(body)
        every = {number: desk.status(body) for number, desk in sorted(self.desks.items())}
        going = {number: told for number, told in every.items() if told["ended"] is None}
        return {
            "run": first.run,
            "name": first.job.name,
            "ended": self.ended,
            "tasks": [{**t, "set": n} for n, told in going.items() for t in told["tasks"] if t["attempts"]],
            "agents": [agent for told in going.values() for agent in told["agents"]],
            "waits": first.waits,
            "sets": {str(number): told["ended"] for number, told in every.items()},
        }

    def join(self, body: Mapping[str, Any]) -> Any:
        """Give an agent a desk: the one it says, where it has work under way, else one that is in want."""
        with self._lock:
            worker, said = str(body["worker"]), body.get("run")
            desk = self._seats.get(worker) or next((d for d in self.desks.values() if d.run == said), None)
            desk = desk or self._wanting()
            if desk is None:
                return {"job": None}
            self._seats[worker] = desk
        return desk.join(body)

    def leave(self, body: Mapping[str, Any]) -> Any:
        """An agent goes from its desk; return whether it is wanted at another."""
        self.of(body).leave(body)
        with self._lock:
            self._seats.pop(str(body["worker"]), None)
            return {"more": any(d.ended is None for d in self.desks.values())}

    def _wanting(self) -> Desk | None:
        going = [d for d in self.desks.values() if d.ended is None] or list(self.desks.values())
        return min(going, key=lambda d: (len(d.state.workers), -_ready(d)), default=None)

    def balance(self) -> None:
        """Let agents that have nothing to do go where work waits."""
        starving = sum(
            1 for d in self.desks.values() if d.ended is None and (_ready(d) or not d.state.workers)
        )
        for desk in self.desks.values() if starving else ():
            if desk.ended is None and not _ready(desk):
                busy = {a.worker for t in desk.state.tasks.values() for a in t.attempts}
                idle = sorted(set(desk.state.workers) - busy - self._asked)[:starving]
                starving -= len(idle)
                self._asked.update(idle)
                desk.ask_to_leave(idle)

    def state(self) -> State:
        """Return the state of all desks as if it were of one run, for the question what capacity is wanted."""
        going = [d.state for d in self.desks.values() if d.ended is None]
        if len(self.desks) == 1 or not going:
            return next(iter(self.desks.values())).state
        tasks = {
            f"{number}/{t.id}": replace(t, id=f"{number}/{t.id}")
            for number, d in self.desks.items()
            if d.ended is None
            for t in d.state.tasks.values()
        }
        workers = {w.id: w for state in going for w in state.workers.values()}
        return replace(going[0], tasks=tasks, workers=workers)

    @property
    def ended(self) -> bool | None:
        """None = some desk goes on; else whether all came to a good end."""
        ends = [d.ended for d in self.desks.values()]
        return None if None in ends or not ends else all(ends)


def _ready(desk: Desk) -> int:
    return sum(t.state in (READY, SUSPECT) for t in desk.state.tasks.values())


class Flights:
    """Work under way in one of several sets, by memo key: who comes second waits. See `agent.flights`."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._news = threading.Condition()
        self._up: dict[str, int] = {}
        """Key → number of the set that does the work."""
        self._landed: dict[str, int] = {}
        """How often work of a key has come to its end."""
        self._lost: set[str] = set()

    def first(self, body: Mapping[str, Any]) -> Any:
        """Return whether the caller is to do the work. `seen`: landings it knows of; -1 = this is its first question."""
        desk, key = self._floor.of(body), str(body["key"])
        mine = next(number for number, d in self._floor.desks.items() if d is desk)
        with self._news:
            landed = self._landed.get(key, 0)
            seen = int(body["seen"]) if int(body["seen"]) >= 0 else landed
            if landed > seen:
                return {"first": False}
            holder = self._up.get(key)
            if holder is not None and self._floor.desks[holder].ended is not None:
                holder = None
            if holder is None or holder == mine:
                if key not in self._lost:
                    self._up[key] = mine
                return {"first": True}
            self._news.wait(min(10.0, float(body["wait"])))
            return {"first": None, "seen": seen}

    def land(self, body: Mapping[str, Any]) -> Any:
        """The work is over; not `kept`: nobody shall wait for it again."""
        key = str(body["key"])
        with self._news:
            self._up.pop(key, None)
            self._landed[key] = self._landed.get(key, 0) + 1
            (self._lost.discard if body["kept"] else self._lost.add)(key)
            self._news.notify_all()
        return {}
