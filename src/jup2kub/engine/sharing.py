"""Chunks of loops as tasks of a run: they come while it goes on, belong to whoever runs the loop, and go with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Dict, List, Tuple

from jup2kub.engine import events as ev
from jup2kub.engine.tasks import COMMITTED, LOST, PENDING, TERMINAL, Task

Tasks = Mapping[str, Task]
LOOP = "loop-"
"""Begins the names of the steps whose slots hold chunks of loops; chunk 0 tells how the loop was cut."""


def spread(tasks: Tasks, event: ev.Spread, now: float) -> Dict[str, Task]:
    """Return the tasks with the chunks that are sent: one that is known goes on, one that had failed is offered anew."""
    found = dict(tasks)
    for name in event.tasks:
        known = tasks.get(name)
        if known is not None and event.turn <= known.turn:
            continue
        if known is None or (known.state in TERMINAL and known.state != COMMITTED):
            number = 0 if known is None else known.number
            known = Task(
                name,
                (event.cell,),
                priority=-float(event.cell),
                cpu=event.cpu,
                number=number,
                owner=event.owner,
            )
        known = replace(known, turn=event.turn, owner=event.owner)
        if event.wait and known.state == PENDING:
            known = replace(known, state=LOST, until=now + event.wait)
        found[name] = known
    return found


def gathered(tasks: Tasks, event: ev.Gathered) -> Tuple[Dict[str, Task], List[ev.Command]]:
    """Return the tasks without the chunks of a loop that is done, and what stops those under way."""
    found: Dict[str, Task] = dict(tasks)
    commands: List[ev.Command] = []
    for task in tasks.values():
        if task.id in event.tasks and task.owner and task.turn <= event.turn:
            commands += [
                ev.Abandon(task.id, live.number, live.worker, "the loop has ended") for live in task.attempts
            ]
            del found[task.id]
    return found, commands
