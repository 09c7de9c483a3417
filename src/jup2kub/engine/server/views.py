"""The state of a run as JSON, for people and programs that look at it; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jup2kub.engine.tasks import COMMITTED, MAIN, READY, RUNNING, TERMINAL, State, Task, waiting


def tasks(state: State, now: float) -> list[dict[str, Any]]:
    """Return the tasks that have begun, or may, with why they wait; ages in seconds at `now`, the fold's own clock.

    Chunks of one loop are one entry, named after the loop.
    """
    words = waiting(state)
    found = [
        _entry(t.id, t, t.state, t.reason or words.get(t.id, ""), now)
        for t in state.tasks.values()
        if not t.owner and (t.id == MAIN or t.turn or t.attempts or t.state in TERMINAL)
    ]
    loops: dict[str, list[Task]] = {}
    for task in state.tasks.values():
        if task.owner:
            loops.setdefault(task.id.rpartition(".")[0], []).append(task)
    return found + [_loop(name, chunks, now) for name, chunks in sorted(loops.items())]


def _entry(name: str, task: Task, kind: str, reason: str, now: float) -> dict[str, Any]:
    return {
        "task": name,
        "cells": list(task.cells),
        "state": kind,
        "reason": reason,
        "spent": dict(task.spent),
        "attempts": [
            {"worker": a.worker, "number": a.number, "seconds": now - a.since, "silent": a.silent}
            for a in task.attempts
        ],
    }


def _loop(name: str, chunks: list[Task], now: float) -> dict[str, Any]:
    done = sum(c.state == COMMITTED for c in chunks)
    working = any(c.attempts for c in chunks)
    kind = COMMITTED if done == len(chunks) else RUNNING if working else READY
    attempts = tuple(a for c in chunks for a in c.attempts)
    spent = {k: sum(c.spent.get(k, 0) for c in chunks) for k in sorted({k for c in chunks for k in c.spent})}
    whole = replace(chunks[0], attempts=attempts, spent=spent)
    return _entry(name, whole, kind, f"{done} of {len(chunks)} parts are done", now)


def agents(state: State, now: float) -> list[dict[str, Any]]:
    """Return the agents that are here, with the seconds since they were last heard of."""
    return [
        {"worker": w.id, "image": w.image, "cpu": w.cpu, "quiet": now - w.seen}
        for w in state.workers.values()
    ]
