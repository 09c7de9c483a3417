"""What further agents the work that is ready could use: pure, from the state of a run and the agents under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jup2kub.engine.tasks import READY, SUSPECT, State, Task, suits


@dataclass(frozen=True)
class Wish:
    """An agent that is wanted; 0 = as the run's agents are in general."""

    cpu: float = 0.0
    """Cores."""
    memory: int = 0
    """Bytes."""
    gpu: int = 0
    storage: int = 1
    """Factor on the ephemeral storage."""


@dataclass(frozen=True)
class Wanted:
    """What to do about capacity now."""

    start: tuple[Wish, ...] = ()
    spare: tuple[str, ...] = ()
    """Workers with nothing to do that stand in the way of others which are wanted."""


def wish_of(task: Task) -> Wish:
    """Return the agent that a task asks for."""
    return Wish(task.cpu if task.cpu > 1 else 0.0, task.memory, task.gpu, task.storage)


def wanted(state: State, starting: Sequence[Wish], most: int, ahead: int = 0) -> Wanted:
    """Return the agents to start, so that ready work has where to go, and never more than `most` in all.

    `starting`: agents under way that have not joined. `ahead`: agents to have at least, before there is work for them.
    """
    if state.ended:
        return Wanted()
    coming = list(starting)
    room = most - len(state.workers) - len(coming)
    found: list[Wish] = []
    ready = [t for t in state.tasks.values() if t.state in (READY, SUSPECT)]
    for task in sorted(ready, key=lambda t: (-t.priority, t.id)):
        wish = wish_of(task)
        fitting = next((c for c in coming if _covers(c, wish)), None)
        if fitting is not None:
            coming.remove(fitting)
        else:
            found.append(wish)
    blocked = len(found) > room
    spare = idle(state) if blocked else ()
    begin = tuple(found[: max(0, room)])
    missing = min(ahead, most) - len(state.workers) - len(starting) - len(begin)
    return Wanted((*begin, *([Wish()] * max(0, missing))), spare[: len(found)])


def _covers(offer: Wish, wish: Wish) -> bool:
    """Return whether an agent of one kind will do for a task that asks for another."""
    return (
        (offer.cpu >= wish.cpu or not wish.cpu)
        and (offer.memory >= wish.memory or not wish.memory)
        and offer.gpu >= wish.gpu
        and offer.storage >= wish.storage
    )


def idle(state: State) -> tuple[str, ...]:
    """Return the workers that have no attempt, and that suit none of the tasks which are ready."""
    ready = [t for t in state.tasks.values() if t.state in (READY, SUSPECT)]
    busy = {a.worker for t in state.tasks.values() for a in t.attempts}
    return tuple(
        w.id
        for w in state.workers.values()
        if w.id not in busy and not any(suits(w, t, state.config.strict) for t in ready)
    )
