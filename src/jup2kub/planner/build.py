"""`plan`: a notebook and its flow graph, compiled into the Plan that the run side reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jup2kub.errors import UsageError
from jup2kub.kit.canon import digest
from jup2kub.kit.graph import Groups
from jup2kub.model.facts import Profile
from jup2kub.model.flow import PLACED, FlowGraph
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import PLAN_VERSION, CellEdge, CellPlan, Decision, MapLoop, Names, Plan, Step

from .cost import Costs
from .edges import step_edges
from .law import flow_names, listed, travels, waits
from .partition import Partition, Unit, partition
from .presume import Sheet, sheet
from .slices import Slice

ASKS_PASSWORD = re.compile(r"\bgetpass\s*\(")
MODES = ("hybrid", "static", "serial")
OFFLOAD = ("auto", "all", "none")


def plan(
    notebook: Notebook,
    graph: FlowGraph,
    *,
    profile: Profile | None = None,
    costs: Costs | None = None,
    workers: int = 2,
    mode: str = "hybrid",
    offload: str = "auto",
    fork: bool = True,
    keys: Mapping[int, str] | None = None,
    loops: Sequence[MapLoop] = (),
    loop_decisions: Sequence[Decision] = (),
) -> Plan:
    """Return the plan of a notebook.

    `keys`: profile key by cell index; `workers`: kernels that compute at once, main included; `fork`: whether a step
    may be a fork of main; `offload`: `auto` by predicted makespan, `all` every cell that may lawfully leave is a step
    of its own, `none` nothing leaves. Cells whose loops are spread (`kind="map"`) are listed in `Plan.main` too: main
    runs the cell, only the iterations leave. Raises UsageError for a `#| map` or `#| step` that cannot be had.
    """
    _check(mode, MODES, "mode")
    _check(offload, OFFLOAD, "offload")
    prices, known = costs or Costs(), keys or {}
    facts = sheet(notebook, graph, profile if mode == "hybrid" else None, known, prices)
    serial = mode == "serial" or offload == "none" or notebook.language not in ("", "python")
    maps = () if serial else _maps(notebook, facts, loops, loop_decisions, prices, workers)
    parts = partition(
        facts,
        prices,
        workers=workers,
        offload="none" if serial else offload,
        fork=fork,
        mapped=frozenset(s.cells[0] for s in maps),
    )
    steps, parts = _steps(parts)
    gone = {i for s in steps for i in s.cells}
    makespan = parts.makespan(parts.units)
    alone = parts.makespan([])
    main = tuple(i for i in facts.order if i not in gone)
    return Plan(
        version=PLAN_VERSION,
        mode=mode,
        workers=workers,
        source=digest([facts.cells[i].source for i in facts.order]),
        cells=tuple(_cell(parts, i, known, loops if not serial else (), steps) for i in facts.order),
        main=main,
        steps=tuple(sorted((*steps, *maps), key=lambda s: s.cells)),
        edges=step_edges(parts.slicer, graph, steps),
        cell_edges=tuple(CellEdge(e.source, e.target, e.rule, e.name) for e in graph.edges),
        decisions=(
            *_whole(parts, notebook, serial, mode, makespan, alone, steps),
            *_kept(parts, gone, serial),
            *(Decision("J2K320", s.cells, s.reason) for s in (*steps, *maps)),
            *loop_decisions,
        ),
        makespan=round(makespan, 3),
        serial=round(alone, 3),
    )


def _check(value: str, allowed: Sequence[str], what: str) -> None:
    if value not in allowed:
        raise UsageError(
            "J2K350", f"{what} {value!r} is not one of {', '.join(allowed)}", f"use --{what} {allowed[0]}"
        )


def _steps(parts: Partition) -> tuple[tuple[Step, ...], Partition]:
    """Return the steps with their pasts; a unit that needs a fork where none may be had goes back to main."""
    slices = {u.cells: parts.slicer.of(u.cells) for u in parts.units}
    kept = []
    for unit in parts.units:
        problems = slices[unit.cells].problems
        if problems and not parts.fork:
            text = f"cell {unit.cells[0]} stays in the main line: without forks it cannot leave, as {problems[0]}"
            for i in unit.cells:
                parts.refused[i] = Decision("J2K313", (i,), text, "allow forks")
        else:
            kept.append(unit)
    parts.units = kept
    names: set[str] = set()
    steps = []
    for unit in kept:
        name = _id(unit, names)
        names.add(name)
        steps.append(_step(parts, unit, name, slices[unit.cells]))
    return tuple(steps), parts


def _id(unit: Unit, taken: set[str]) -> str:
    name = unit.name or f"step-{unit.cells[0]}"
    while name in taken or name == "main":
        name += "-"
    return name


def _step(parts: Partition, unit: Unit, name: str, past: Slice) -> Step:
    estimates = parts.sheet.estimates
    return Step(
        id=name,
        cells=unit.cells,
        replays=past.replays,
        loads=dict(past.loads),
        outputs=_outputs(parts.sheet, unit.cells),
        seconds=round(sum(estimates[i].seconds for i in unit.cells), 3),
        reason=_why(parts, unit),
        fork_only=past.problems[0] if past.problems else "",
    )


def _why(parts: Partition, unit: Unit) -> str:
    cells = _cells(unit.cells)
    if unit.name:
        return f"{cells} leave{_s(unit.cells)} the main line: you named the step “{unit.name}”"
    if not unit.gain:
        return f"{cells} leave{_s(unit.cells)} the main line: every cell that may leave was asked to"
    measured = all(parts.sheet.estimates[i].measured for i in unit.cells)
    took = "took" if measured else "looks like"
    seconds = sum(parts.sheet.estimates[i].seconds for i in unit.cells)
    return (
        f"{cells} leave{_s(unit.cells)} the main line: {took} {seconds:.3g} s of work, and main has other heavy work "
        f"meanwhile that does not need it; saves about {unit.gain:.2g} s"
    )


def _s(cells: Sequence[int]) -> str:
    return "s" if len(cells) == 1 else ""


def _cells(cells: Sequence[int]) -> str:
    return f"cell {cells[0]}" if len(cells) == 1 else "cells " + ", ".join(map(str, cells))


def _outputs(facts: Sheet, cells: tuple[int, ...]) -> tuple[Names, ...]:
    """Return the groups of names that a step gives back: co-variables together, ambient state one by one."""
    groups: Groups[str] = Groups()
    alive: dict[str, None] = {}
    for i in cells:
        flow = facts.flows[i]
        for name in sorted(flow.writes):
            if name in flow.lifted and i in facts.split:
                continue
            if not name.startswith("@") or (travels(name) and name != "@out" and not name.startswith(PLACED)):
                alive[name] = None
        for name in flow.deletes:
            alive.pop(name, None)
        for group in flow.groups:
            first, *rest = sorted(group)
            for other in rest:
                groups.join(first, other)
    found: dict[str, set[str]] = {}
    for name in alive:
        found.setdefault(groups.find(name), set()).add(name)
    return tuple(sorted((frozenset(g) for g in found.values()), key=sorted))


def _maps(
    notebook: Notebook,
    facts: Sheet,
    loops: Sequence[MapLoop],
    decisions: Sequence[Decision],
    costs: Costs,
    workers: int,
) -> tuple[Step, ...]:
    """Return the map steps: loops that the user asked for, or that the profile knows to be worth it."""
    asked = {loop.cell for loop in loops if loop.asked}
    for cell in notebook.code:
        if cell.options.map is not None and cell.index not in asked:
            why = next((d for d in decisions if cell.index in d.cells), None)
            text = why.text if why else "no loop was found in it"
            raise UsageError(
                "J2K352", f"cell {cell.index} asks for a map, but {text}", why.hint if why else None
            )
    steps = []
    for i in facts.order:
        here = [loop for loop in loops if loop.cell == i and not loop.function]
        times = facts.facts[i].loops if i in facts.facts else {}
        seconds = sum(times.get(str(loop.line), 0.0) for loop in here)
        gain = seconds * (1 - 1 / max(1, workers))
        if any(loop.asked for loop in here):
            reason = f"the iterations of the loop in cell {i} are spread: you asked for it with `#| map`"
        elif here and gain >= costs.map_gain_seconds:
            reason = f"the iterations of the loop in cell {i} are spread: the loop took {seconds:.3g} s, and they are independent"
        else:
            continue
        steps.append(Step(f"map-{i}", (i,), kind="map", seconds=round(seconds, 3), reason=reason))
    return tuple(steps)


def _cell(
    parts: Partition, index: int, keys: Mapping[int, str], loops: Sequence[MapLoop], steps: Sequence[Step]
) -> CellPlan:
    facts = parts.sheet
    flow, cell, estimate = facts.flows[index], facts.cells[index], facts.estimates[index]
    gone = next((s for s in steps if index in s.cells), None)
    pending: frozenset[str] = frozenset()
    if flow.guarded:
        away = [i for s in steps if s is not gone and s.cells[0] < index for i in s.cells]
        pending = flow.guarded & frozenset().union(*(flow_names(facts.flows[i]) for i in away))
    before = parts.order[index] if gone else facts.before[index]
    options = cell.options
    plain = CellPlan(
        index,
        flow.reads,
        flow.defines,
        flow.may_define,
        flow.deletes,
        flow.mutates,
        flow.definitions,
        flow.groups,
    )
    return replace(
        plain,
        effects=flow.effects,
        file_reads=flow.file_reads,
        file_writes=flow.file_writes,
        barrier=flow.barrier or ("you marked it as a barrier" if options.barrier else None),
        waits_all=waits(facts, index, pending),
        before=tuple(sorted(before)),
        repeatable=estimate.repeatable,
        heavy=estimate.heavy,
        seconds=round(estimate.seconds, 6),
        loops=tuple(loop for loop in loops if loop.cell == index),
        loop_seconds=dict(facts.facts[index].loops) if index in facts.facts else {},
        may_raise=cell.may_raise,
        timeout=options.timeout,
        retries=options.retries,
        cpu=options.cpu,
        memory=options.memory or (estimate.peak_bytes or None),
        growth=facts.facts[index].grown_bytes if index in facts.facts and not options.memory else None,
        gpu=options.gpu,
        cache=options.cache,
        secret=options.secret is not None or bool(ASKS_PASSWORD.search(cell.source)),
        key=keys.get(index, "").split("#")[0],
        **_lifted(facts, index),
    )


def _split_off(facts: Sheet, gone: set[int]) -> tuple[Decision, ...]:
    """Return for every step's cell that defines something how its readers come by the definitions."""
    found = []
    for i in sorted(gone & facts.split):
        names = listed(sorted(facts.flows[i].lifted))
        text = f"cell {i} defines {names}: every kernel makes that from its own lines, before the rest of the cell runs"
        found.append(Decision("J2K322", (i,), text))
    return tuple(found)


def _lifted(facts: Sheet, index: int) -> dict[str, Any]:
    """Return which definitions are split off from the cell: all, or none."""
    flow = facts.flows[index]
    if index not in facts.split:
        return {}
    return {
        "lifted": flow.lifted,
        "lifted_lines": flow.lifted_lines,
        "lifted_reads": flow.lifted_reads,
    }


def _kept(parts: Partition, gone: set[int], serial: bool) -> tuple[Decision, ...]:
    """Return for every cell of the main line why it is there, and what of the others every kernel does itself."""
    if serial:
        return ()
    heavy = [i for i in parts.sheet.order if parts.sheet.estimates[i].heavy]
    found = list(_split_off(parts.sheet, gone))
    for i in parts.sheet.order:
        if i in gone:
            continue
        if i in parts.refused:
            found.append(parts.refused[i])
        elif parts.sheet.estimates[i].heavy:
            why = (
                "it is the only heavy cell" if len(heavy) == 1 else "sending it away would save no time here"
            )
            found.append(Decision("J2K314", (i,), f"cell {i} stays in the main line: {why}"))
        else:
            found.append(Decision("J2K315", (i,), f"cell {i} stays in the main line: it is quick"))
    return tuple(found)


def _whole(
    parts: Partition,
    notebook: Notebook,
    serial: bool,
    mode: str,
    makespan: float,
    alone: float,
    steps: Sequence[Step],
) -> tuple[Decision, ...]:
    """Return the decision about the plan as a whole."""
    cells = parts.sheet.order
    if notebook.language not in ("", "python"):
        text = f"the notebook is written in {notebook.language}: it runs as one main line, top to bottom"
        return (Decision("J2K321", cells, text),)
    if serial:
        asked = "--plan serial" if mode == "serial" else "--offload none"
        return (Decision("J2K321", cells, f"everything runs in the main line, as asked by {asked}"),)
    if not steps:
        long = f"about {alone:.3g} s" if alone >= 0.1 else "all of it is quick"
        text = f"nothing leaves the main line: {long}, and no two heavy cells could usefully run at once"
        return (Decision("J2K321", cells, text),)
    text = f"about {makespan:.3g} s instead of {alone:.3g} s by the main line alone, with {parts.workers} workers"
    return (Decision("J2K321", cells, text),)
