"""What a loop may touch: listed before its iterations run side by side, so that a child can prove that it did not."""

from __future__ import annotations

from typing import Any

from .mapfolds import UNSET
from .mapstate import SHARED, TooBig, World
from .mapwork import Work


def listed(work: Work, items: list[Any], world: World) -> str:
    """List into `world` what the loop may touch; return why its iterations are not independent after all, or nothing."""
    spec, frame = work.spec, work.frame
    carried = {n for c in spec.carried for n in (c.name, *c.group)}
    try:
        for name in spec.reads:
            if name not in carried:
                value = frame.get(name, UNSET)
                if hasattr(type(value), "__next__"):
                    return f"reads the iterator `{name}`, which every iteration moves on"
                world.add(value, SHARED)
        for offset, item in enumerate(items):
            world.add(item, work.done + offset)
        seen: dict[int, str] = {}
        for carry in spec.carried:
            value = frame.get(carry.name, UNSET)
            if value is UNSET:
                return f"`{carry.name}` is not defined"
            if type(value) in (int, float, complex, str, bytes, bool, type(None), tuple):
                continue
            if id(value) in world.number or id(value) in seen:
                return f"`{carry.name}` is also reached by another name that the loop reads"
            seen[id(value)] = carry.name
        world.freeze()
    except TooBig:
        return "the loop's inputs are too many objects to watch"
    return ""
