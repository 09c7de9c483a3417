"""Which pods a run could use now; pure.

Python >= 3.9 and the standard library only: the run server in a pod carries it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jup2kub.engine.tasks import (
    COMMITTED,
    DISPATCHED,
    LOST,
    MAIN,
    PENDING,
    PERSISTING,
    READY,
    RETRY_WAIT,
    RUNNING,
    SUSPECT,
    State,
    Task,
)
from jup2kub.manifests.spec import PodClass, RunSpec
from jup2kub.model.plan import Plan

OPEN = frozenset({READY, DISPATCHED, RUNNING, PERSISTING, SUSPECT, LOST, RETRY_WAIT})
"""States of a task that needs an agent now, or will in a moment."""
STEP = 1 << 28
"""Bytes; memory is asked for in multiples of this, so that classes stay few."""


@dataclass(frozen=True)
class Demand:
    """Pods that should live, by class."""

    pods: Mapping[PodClass, int]
    ended: bool
    """The run is over: no pod is of any use."""


def demand(state: State, plan: Plan, spec: RunSpec) -> Demand:
    """Return the pods that the run could use now, at most `spec.parallelism`, the main line's first.

    A main line that waits takes no processor: its agent runs what is sent away, so it is not counted twice. Steps that
    the main line will send away are counted before it has come to them, for a pod takes seconds to start.
    """
    if state.ended:
        return Demand({}, True)
    tasks = [t for t in state.tasks.values() if t.state in OPEN and not _waits(t)]
    coming = [t for t in state.tasks.values() if t.state == PENDING and _planned(t, plan)]
    pods: dict[PodClass, int] = {}
    for task in sorted(tasks, key=lambda t: -t.priority) + sorted(coming, key=lambda t: -t.priority):
        if sum(pods.values()) >= max(1, spec.parallelism):
            break
        wish = class_of(task, spec)
        pods[wish] = pods.get(wish, 0) + 1
    if not pods and state.tasks[MAIN].state != COMMITTED:
        pods[spec.pod_class()] = 1
    return Demand(pods, False)


def class_of(task: Task, spec: RunSpec) -> PodClass:
    """Return the class of pods for a task: the base, or as much more as the task asks for or has been seen to need."""
    base = spec.pod_class()
    wish = base if not task.image else replace(base, image=task.image)
    if task.cpu > base.most_cores:
        wish = replace(wish, cpu=task.cpu)
    if task.memory > base.usable_memory:
        # A tenth of a pod's memory is the agent's own.
        wish = replace(wish, memory=math.ceil(task.memory / 0.9 / STEP) * STEP)
    return replace(wish, gpu=task.gpu) if task.gpu else wish


def _waits(task: Task) -> bool:
    return task.id == MAIN and bool(task.attempts) and all(a.waiting for a in task.attempts)


def _planned(task: Task, plan: Plan) -> bool:
    return (
        any(set(task.cells) <= set(step.cells) for step in plan.steps if step.kind == "cells")
        and task.id != MAIN
    )
