"""A plan to the tasks of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from jup2kub.agent.session import UNREPEATABLE
from jup2kub.errors import UsageError
from jup2kub.kit.graph import closure
from jup2kub.model.job import Job
from jup2kub.model.notebook import Notebook
from jup2kub.model.parts import LAST, Kept, Part, Parts
from jup2kub.model.plan import CellPlan, Plan, Step


def parts(job: Job, notebook: Notebook) -> Parts:
    """Return the tasks of a compiled notebook.

    Raises UsageError (J2K740) when no step can be a task of its own: then a graph of one task would be all there is.
    """
    plan = job.plan
    before = _ancestors(plan)
    cells = {cell.index: cell for cell in plan.cells}
    kept: list[Kept] = []
    found: list[Part] = []
    for step in _largest(plan.steps):
        runs = tuple(sorted({i for cell in step.cells for i in closure([cell], before)} & cells.keys()))
        reason = _stays(step, [cells[i] for i in runs], cells)
        if reason:
            kept.append(Kept(step.id, step.cells, reason))
            continue
        found.append(_part(f"cells-{'-'.join(map(str, step.cells))}", step.cells, runs, cells))
    if not found:
        told = "; ".join(f"{k.step}: {k.reason}" for k in kept) or "the plan has no steps"
        raise UsageError(
            "J2K740",
            f"nothing of this notebook can be a task of its own ({told})",
            "`jup2kub plan --explain` tells what stays in the main line; `jup2kub run` once lets the plan know what is heavy",
        )
    ordered = _ordered(found)
    made = {i for part in ordered for i in part.cells}
    rest = tuple(i for i in cells if i not in made)
    last = _part(LAST, rest, tuple(cells), cells, tuple(_sinks(ordered)))
    return Parts(job, notebook, (*ordered, last), tuple(kept))


def _largest(steps: Iterable[Step]) -> list[Step]:
    """Return the steps in notebook order, without those (loops) whose cells belong to another one."""
    chosen: list[Step] = []
    for step in sorted(steps, key=lambda s: (-len(s.cells), s.cells, s.id)):
        if not any(set(step.cells) <= set(other.cells) for other in chosen):
            chosen.append(step)
    return sorted(chosen, key=lambda s: s.cells)


def _ancestors(plan: Plan) -> dict[int, set[int]]:
    """Return the cells that each one directly depends on: by the edges, and by the cells' own word."""
    before = {cell.index: set(cell.before) for cell in plan.cells}
    for edge in plan.cell_edges:
        before[edge.target].add(edge.source)
    return before


def _stays(step: Step, runs: Iterable[CellPlan], cells: Mapping[int, CellPlan]) -> str:
    """Return why a step cannot be done apart from the notebook, in words; empty = it can.

    A task may be tried again and its results are found by memo key, so all that it runs must do the same each time, and
    nothing to the world.
    """
    if step.fork_only:
        return step.fork_only
    for cell in runs:
        loose = cell.effects & UNREPEATABLE
        if loose:
            return f"cell {cell.index} would not do the same again ({', '.join(sorted(loose))})"
        if cell.barrier or cell.waits_all:
            return f"cell {cell.index} needs the whole notebook before it ({cell.barrier or cell.waits_all})"
        if cell.secret:
            return f"cell {cell.index} binds a secret, which is never stored"
    uncached = [i for i in step.cells if cells[i].cache is False]
    return f"results of cell {uncached[0]} are not to be used again" if uncached else ""


def _part(
    name: str,
    made: tuple[int, ...],
    runs: tuple[int, ...],
    cells: Mapping[int, CellPlan],
    after: tuple[str, ...] = (),
) -> Part:
    own = [cells[i] for i in runs]
    return Part(
        name,
        made,
        runs,
        after,
        cpu=max((c.cpu for c in own if c.cpu is not None), default=None),
        memory=max((c.memory for c in own if c.memory is not None), default=None),
        gpu=max((c.gpu for c in own if c.gpu is not None), default=None),
    )


def _ordered(found: list[Part]) -> list[Part]:
    """Return the tasks with what each comes after: those whose cells it runs, without what follows from others."""
    needs = {p.name: {o.name for o in found if o is not p and set(o.cells) <= set(p.runs)} for p in found}
    done: list[Part] = []
    for part in sorted(found, key=lambda p: (len(closure([p.name], needs)), p.cells)):
        implied = {far for near in needs[part.name] for far in closure([near], needs) - {near}}
        after = tuple(sorted(needs[part.name] - implied))
        done.append(replace(part, after=after))
    return done


def _sinks(ordered: Iterable[Part]) -> list[str]:
    """Return the tasks that no other comes after."""
    tasks = list(ordered)
    followed = {name for task in tasks for name in task.after}
    return [task.name for task in tasks if task.name not in followed]
