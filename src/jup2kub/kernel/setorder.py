"""Sets that iterate in a given order: every item gets a slot of the hash table, by the way CPython probes.

Nothing depends on the simulation being right: the set is made and looked at, and refused if its order is another.
"""

from __future__ import annotations

import bisect
import itertools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

_LINEAR = 9
_SHIFT = 5
_WORD = (1 << 64) - 1
_SLOT_BYTES = 16
_LEAST = 8
_FAR = 1 << 35
_MOST_PROBES = 64
_MOST_WORK = 2_000_000


class _Plan(NamedTuple):
    order: list[Any]
    """Items in the order of insertion."""
    blocked: list[int]
    """Slots that must be taken by others before, and freed afterwards."""


def fill(target: set[Any], items: list[Any], size: int) -> bool:
    """Fill the empty `target` so that it iterates over `items` in order; `size`: bytes it shall have then.

    Returns whether that could be done; if not, the content of `target` is undefined.
    """
    target.update(items)
    if _done(target, items, size):
        return True
    slots = (size - sys.getsizeof(set())) // _SLOT_BYTES or _LEAST
    plan = _plan(items, slots)
    if plan is None:
        return False
    fillers = [slot + slots * _FAR for slot in plan.blocked]
    entries = fillers + plan.order
    rest = (
        [slot + slots * 2 * _FAR for slot in range(max(0, slots // 4 + 1 - len(entries)))]
        if slots > _LEAST
        else []
    )
    first = max(_LEAST // 2, slots // 2 - 1)
    target.clear()
    # A dictionary makes the set take its final size at once, so that nothing is put elsewhere later.
    target.update(dict.fromkeys((entries + rest)[:first]))
    for item in (entries + rest)[first:]:
        target.add(item)
    target.difference_update(fillers, rest)
    return _done(target, items, size)


def frozen(items: list[Any]) -> frozenset[Any] | None:
    """Return a frozen set that iterates over `items` in order, or None; its size may differ."""
    if _same(made := frozenset(items), items):
        return made
    slots = _LEAST
    while slots <= 2 * len(items) or len(items) * 5 >= (slots - 1) * 3:
        slots *= 2
    for wanted in (slots, slots // 2, slots * 2):
        plan = _plan(items, max(wanted, _LEAST))
        if plan is None:
            continue
        for made in (frozenset(dict.fromkeys(plan.order)), frozenset(plan.order)):
            if _same(made, items):
                return made
    return None


def _done(target: set[Any], items: list[Any], size: int) -> bool:
    return sys.getsizeof(target) == size and _same(target, items)


def _same(candidate: Any, items: list[Any]) -> bool:
    found = list(candidate)
    return len(found) == len(items) and all(a is b for a, b in zip(found, items))


def _probes(number: int, mask: int) -> Iterator[int]:
    """Yield the slots that are tried for a hash, in order."""
    perturb = number & _WORD
    at = number & mask
    for _ in range(_MOST_PROBES):
        yield from range(at, at + (_LINEAR if at + _LINEAR <= mask else 0) + 1)
        perturb >>= _SHIFT
        at = (at * 5 + 1 + perturb) & mask


def _plan(items: list[Any], slots: int) -> _Plan | None:
    """Give every item a slot behind that of the item before it, with the least displacement; and an order."""
    candidates = _candidates(items, slots - 1)
    chosen = _increasing(candidates)
    if chosen is None:
        return None
    tried = [slots_[: slots_.index(slot)] for slots_, slot in zip(candidates, chosen)]
    owner = {slot: i for i, slot in enumerate(chosen)}
    blocked = sorted({slot for before in tried for slot in before if slot not in owner})
    order = _sorted_by_need([[owner[slot] for slot in before if slot in owner] for before in tried])
    return None if order is None else _Plan([items[i] for i in order], blocked)


def _candidates(items: list[Any], mask: int) -> list[list[int]]:
    limit = (
        max(_LINEAR + 2, min(_MOST_PROBES, _MOST_WORK // len(items)))
        if len(items) * _LINEAR < _MOST_WORK
        else 0
    )
    return [list(dict.fromkeys(itertools.islice(_probes(hash(item), mask), limit))) for item in items]


def _increasing(candidates: list[list[int]]) -> list[int] | None:
    """Choose one slot per item, strictly increasing, with the least sum of places in the lists; None: impossible."""
    ends, costs = [-1], [0]
    ways: list[Any] = [()]
    for found in candidates:
        new_ends: list[int] = []
        new_costs: list[int] = []
        new_ways: list[Any] = []
        for slot, cost in sorted((slot, cost) for cost, slot in enumerate(found)):
            at = bisect.bisect_left(ends, slot) - 1
            if at < 0:
                continue
            total = costs[at] + cost
            if not new_costs or total < new_costs[-1]:  # a later slot must be cheaper to be of use
                new_ends.append(slot)
                new_costs.append(total)
                new_ways.append((slot, ways[at]))
        ends, costs, ways = new_ends, new_costs, new_ways
        if not ends:
            return None
    way = ways[-1]
    chosen: list[int] = []
    while way:
        chosen.append(way[0])
        way = way[1]
    return chosen[::-1]


def _sorted_by_need(needs: list[list[int]]) -> list[int] | None:
    """Return indices so that each comes after those it needs; None if they need each other."""
    order: list[int] = []
    state = [0] * len(needs)
    for start in range(len(needs)):
        todo = [(start, False)]
        while todo:
            index, left = todo.pop()
            if left:
                state[index] = 2
                order.append(index)
            elif state[index] == 0:
                state[index] = 1
                todo.append((index, True))
                for other in needs[index]:
                    if state[other] == 1 and other != index:
                        return None
                    todo.append((other, False))
    return order
