"""What has been spent of the budgets, kept in the store: a server that starts again forgives no more than the one before."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jup2kub.engine.tasks import State, Task
from jup2kub.errors import StoreProblem
from jup2kub.store import Record, Slot, Store

STEP = "spent"
"""Name of the step whose generations tell, one after the other, what was spent in one round of a run."""


class Spent:
    """Of one round of a run: a user who runs once more has all budgets again."""

    def __init__(self, store: Store, run: str, round_: int) -> None:
        self._store, self._run, self._round = store, run, round_
        self._last: Record = {}
        self._next = 0

    def restore(self, state: State) -> tuple[State, dict[str, int]]:
        """Return the state with what an earlier server has noted, and how often the main kernel died, by cell."""
        found = self._store.latest(self._run, STEP, self._round)
        if found is None:
            return state, {}
        self._next, self._last = found[0].generation + 1, found[1]
        tasks = {name: _with(task, self._last["tasks"].get(name)) for name, task in state.tasks.items()}
        return replace(state, tasks=tasks), dict(self._last["deaths"])

    def note(self, state: State, deaths: Mapping[str, int]) -> None:
        """Keep what is spent, if that has changed. A store that takes nothing is told of by those who need it."""
        record = {
            "status": "spent",
            "tasks": {name: _told(task) for name, task in state.tasks.items() if task.spent},
            "deaths": dict(deaths),
        }
        if record == self._last or not (record["tasks"] or deaths):
            return
        with contextlib.suppress(StoreProblem):
            self._store.commit(Slot(self._run, STEP, self._round, self._next), record)
            self._next += 1
            self._last = record


def _told(task: Task) -> dict[str, Any]:
    return {
        "spent": dict(task.spent),
        "number": max([task.number - len(task.attempts), 0]),
        "memory": task.memory,
        "storage": task.storage,
    }


def _with(task: Task, told: Mapping[str, Any] | None) -> Task:
    if told is None:
        return task
    spent = {kind: int(n) for kind, n in told["spent"].items()}
    return replace(
        task,
        spent=spent,
        number=int(told["number"]),
        memory=int(told["memory"]),
        storage=int(told["storage"]),
    )
