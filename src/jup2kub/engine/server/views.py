"""The state of a run as JSON, for people and programs that look at it; pure."""

from __future__ import annotations

from typing import Any

from jup2kub.engine.tasks import MAIN, TERMINAL, State, waiting


def tasks(state: State, now: float) -> list[dict[str, Any]]:
    """Return the tasks that have begun, or may, with why they wait; ages in seconds at `now`, the fold's own clock."""
    words = waiting(state)
    return [
        {
            "task": t.id,
            "cells": list(t.cells),
            "state": t.state,
            "reason": t.reason or words.get(t.id, ""),
            "spent": dict(t.spent),
            "attempts": [
                {"worker": a.worker, "number": a.number, "seconds": now - a.since, "silent": a.silent}
                for a in t.attempts
            ],
        }
        for t in state.tasks.values()
        if t.id == MAIN or t.turn or t.attempts or t.state in TERMINAL
    ]


def agents(state: State, now: float) -> list[dict[str, Any]]:
    """Return the agents that are here, with the seconds since they were last heard of."""
    return [
        {"worker": w.id, "image": w.image, "cpu": w.cpu, "quiet": now - w.seen}
        for w in state.workers.values()
    ]
