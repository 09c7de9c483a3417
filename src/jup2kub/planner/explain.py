"""A plan in words: why each step leaves, why each other cell stays, and what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Decision, Plan, Step, StepEdge

from .edges import MAIN
from .law import resource

WIDTH = 60
"""Characters of a cell's first line that are shown."""
SETTING_UP = (
    *("import ", "from ", "%%time", "%%capture", "%%prun"),
    *("%matplotlib", "%config", "%load_ext", "%autoreload", "%pylab"),
)
"""What lines begin with that say little of what a cell is for."""


def title(notebook: Notebook, index: int) -> str:
    """Return the first line of a cell that says something: not empty, no option; no comment, import, or magic that only
    times the cell or sets up the notebook, if there is more.
    """
    lines = [line.strip() for line in notebook.cells[index].source.splitlines()]
    told = [line for line in lines if line and not line.startswith("#|")]
    code = [line for line in told if not line.startswith("#")]
    work = [line for line in code if not line.startswith(SETTING_UP)]
    line = (work or code or told or [""])[0]
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def explain(plan: Plan, notebook: Notebook) -> str:
    """Return the plan in words, grouped: the whole, the steps, the main line, what waits for what; ends in a newline."""
    parts = [
        _whole(plan),
        _steps(plan, notebook),
        _main(plan, notebook),
        _edges(plan),
        _order(plan, notebook),
        _notes(plan),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _whole(plan: Plan) -> str:
    return "\n".join(_sentence(d) for d in plan.decisions if d.rule == "J2K321")


def _steps(plan: Plan, notebook: Notebook) -> str:
    if not plan.steps:
        return ""
    told = "\n".join(_step(s, notebook, plan.decisions) for s in plan.steps)
    return "Steps: work that leaves the main line\n" + told


def _step(step: Step, notebook: Notebook, decisions: Sequence[Decision]) -> str:
    lines = [f"  {step.id}"]
    lines += [f"    cell {i}: {title(notebook, i)}" for i in step.cells]
    lines.append(f"    why: {step.reason}")
    lines += [f"    {d.text}" for d in decisions if d.rule == "J2K322" and d.cells[0] in step.cells]
    if step.replays:
        lines.append(f"    in a kernel of its own it first repeats the quick cells {_numbers(step.replays)}")
    if step.loads:
        lines.append(
            "    it takes " + _listed(f"{_name(n)} from cell {i}" for n, i in sorted(step.loads.items()))
        )
    if step.outputs:
        lines.append(
            "    it gives back " + _listed(" with ".join(_name(n) for n in sorted(g)) for g in step.outputs)
        )
    if step.fork_only:
        lines.append(f"    it runs only as a copy of the main kernel: {step.fork_only}")
    return "\n".join(lines)


def _main(plan: Plan, notebook: Notebook) -> str:
    """Every cell of the main line with its reason; neighbours with the same plain reason share a heading."""
    steps = {i for s in plan.steps if s.kind == "cells" for i in s.cells}
    why: dict[int, Decision] = {}
    for decision in plan.decisions:
        if decision.rule.startswith(("J2K30", "J2K31")) and decision.cells:
            why.setdefault(decision.cells[0], decision)
    waits = {c.index: c.waits_all for c in plan.cells}
    lines = []
    for i in plan.main:
        if i in steps:
            continue
        lines.append(f"  cell {i}: {title(notebook, i)}")
        if i in why:
            lines += [f"    {_because(why[i])}", *([f"    hint: {why[i].hint}"] if why[i].hint else [])]
        else:
            lines.append("    everything runs here, in order")
        if waits[i] and plan.steps:
            lines.append(f"    it waits until nothing earlier is unfinished: {waits[i]}")
    return "The main line: runs from top to bottom\n" + "\n".join(lines) if lines else ""


def _because(decision: Decision) -> str:
    return decision.text.partition(": ")[2] or decision.text


def _edges(plan: Plan) -> str:
    if not plan.edges:
        return ""
    return "What waits for what\n" + "\n".join(_edge(e) for e in plan.edges)


def _edge(edge: StepEdge) -> str:
    source, target = ("the main line" if n == MAIN else n for n in (edge.source, edge.target))
    lines = [f"  {target} waits for {source}:"]
    return "\n".join(lines + [f"    {r.text} ({r.rule})" for r in edge.reasons])


def _order(plan: Plan, notebook: Notebook) -> str:
    """Every edge between two cells, one line a target and source."""
    together: dict[tuple[int, int], list[str]] = {}
    for edge in plan.cell_edges:
        together.setdefault((edge.target, edge.source), []).append(f"{_name(edge.name)} ({edge.rule})")
    if not together:
        return "Which cells depend on which: none does on another"
    lines, last = [], -1
    for (target, source), names in sorted(together.items()):
        if target != last:
            lines.append(f"  cell {target}: {title(notebook, target)}")
            last = target
        lines.append(f"    needs {_listed(dict.fromkeys(names))} of cell {source}: {title(notebook, source)}")
    return "Which cells depend on which\n" + "\n".join(lines)


def _notes(plan: Plan) -> str:
    """All other decisions: of the analysis, of loops."""
    shown = ("J2K30", "J2K31", "J2K32")
    lines = [f"  {_sentence(d)}" for d in plan.decisions if not d.rule.startswith(shown)]
    return "Notes\n" + "\n".join(lines) if lines else ""


def _sentence(decision: Decision) -> str:
    text = f"{decision.rule} {decision.text}"
    return f"{text}; hint: {decision.hint}" if decision.hint else text


def _name(name: str) -> str:
    return resource(name) if name else "everything before it"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _numbers(cells: Sequence[int]) -> str:
    """Return `1–3, 7` for 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for i in cells:
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in runs)
