"""The traced layer: what a run has seen of a cell corrects what its text says."""

from __future__ import annotations

from dataclasses import replace

from jup2kub.analyse.record import CERTAIN, CONDITIONAL, Record
from jup2kub.analyse.values import UNKNOWN
from jup2kub.analyse.world import World
from jup2kub.model.facts import Facts
from jup2kub.model.flow import CellFlow, Names


def apply(world: World, flow: CellFlow, record: Record, facts: Facts) -> CellFlow:
    """Return the flow with everything observed added, and speculations refuted by the trace taken out.

    Only a statement that always runs can be refuted, by a cell that did not raise, for a name that was compared.
    """
    refuted = refutable(flow, record, facts)
    _separate(world, flow, record, facts)
    seen = facts.mutated - flow.defines
    bound = facts.bound - flow.defines - flow.deletes
    for name in bound:
        if name[0] != "@" and name not in world.space("").env:
            world.space("").env[name] = UNKNOWN
    for group in facts.aliases:
        if len(group) > 1:
            record.joins.append(frozenset(world.sharing.join(group)))
    changed = (flow.mutates - refuted) | seen
    dropped = frozenset(n for n in refuted if n[0] == "@" and n in flow.mutates)
    written = flow.defines | flow.may_define | bound | changed
    groups = tuple({frozenset(g & written) for g in facts.aliases if len(g & written) > 1} | set(flow.groups))
    return replace(
        flow,
        reads=(flow.reads - dropped) | changed | bound | facts.deleted,
        may_define=flow.may_define | bound | (facts.deleted - flow.deletes - flow.defines),
        mutates=changed,
        groups=tuple(sorted((g for g in (frozenset(g & written) for g in groups) if len(g) > 1), key=sorted)),
        effects=flow.effects | facts.effects,
        file_reads=tuple(sorted({*flow.file_reads, *facts.files_read, *facts.absent})),
        file_writes=tuple(sorted({*flow.file_writes, *facts.files_written})),
    )


def refutable(flow: CellFlow, record: Record, facts: Facts) -> Names:
    """Return the mutations of the flow that the trace compared and found not to happen."""
    if facts.raised or facts.mispredicted:
        return frozenset()
    found = set()
    for name in flow.mutates & facts.unchanged:
        marks = record.marks.get(name, set())
        if name not in facts.mutated and CERTAIN not in marks and CONDITIONAL not in marks:
            found.add(name)
    return frozenset(found)


def _separate(world: World, flow: CellFlow, record: Record, facts: Facts) -> None:
    """Take apart names that the text lets share an object, if the trace compared them and found that they do not."""
    if facts.raised or facts.mispredicted:
        return
    groups = [frozenset(g) for g in facts.aliases]
    compared = facts.unchanged | facts.mutated | frozenset().union(*groups)
    for name in flow.defines & facts.bound:
        others = {n for n in world.sharing.of(name) if n[0] not in "!~&"} - {name}
        shared = frozenset().union(*(g for g in groups if name in g))
        if others and name in shared and others <= compared and not others & shared:
            world.sharing.leave(name)
            record.joins = [g - {name} for g in record.joins]
