"""A plan as a picture: the main line as a spine, steps as branches beside it; SVG without outside help, and Mermaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import CellPlan, Plan, Step

from .edges import MAIN
from .explain import title

ROW, WIDE, HIGH, GAP, TOP, LEFT = 46, 268, 32, 64, 76, 28
"""Pixels: distance of rows, size of a box, space between lanes, margins."""

LEGEND = "blue: leaves · red edge: heavy · yellow: waits for all before it"
STYLE = """
.j2k{font:12px ui-sans-serif,system-ui,'DejaVu Sans',sans-serif}
.j2k .bg{fill:#fbfbf9}.j2k .lane{fill:#f1f0ea}.j2k text{fill:#2b2b2b}.j2k .num{fill:#8a8880;font-size:10px}
.j2k .cell{fill:#fff;stroke:#c9c6bb;stroke-width:1}.j2k .heavy{stroke:#c8553d;stroke-width:2}
.j2k .step{fill:#e3eef5;stroke:#3a7ca5;stroke-width:1.4}.j2k .map{fill:#efe6f4;stroke:#7d5ba6;stroke-width:1.4}
.j2k .wait{fill:#faf1dc;stroke:#cf9b2e}.j2k .frame{fill:none;stroke:#3a7ca5;stroke-dasharray:3 4;opacity:.7}
.j2k .spine{stroke:#c9c6bb;stroke-width:2;fill:none}.j2k .out{stroke:#3a7ca5;stroke-width:1.6;fill:none}
.j2k .back{stroke:#2a9d6f;stroke-width:1.6;fill:none}.j2k .dep{stroke:#d5d2c8;stroke-width:1;fill:none}
.j2k .head{font-weight:600;font-size:13px}.j2k .small{font-size:11px;fill:#6d6b64}.j2k .name{font-size:11px;fill:#3a7ca5;font-weight:600}
@media (prefers-color-scheme:dark){.j2k .bg{fill:#1d1f21}.j2k .lane{fill:#26282b}.j2k text{fill:#e6e4de}.j2k .cell{fill:#2e3134;stroke:#56595d}
.j2k .step{fill:#1f3644}.j2k .map{fill:#352b40}.j2k .wait{fill:#3d3524}.j2k .dep{stroke:#45484b}.j2k .heavy{stroke:#e07a5f}}
"""


@dataclass(frozen=True)
class Place:
    """Where a cell is drawn; pixels from the top left corner."""

    x: float
    y: float
    lane: int
    """0 = the main line, then the lanes of steps."""


def places(plan: Plan) -> Mapping[int, Place]:
    """Return the place of every code cell: one row a cell in notebook order, one lane for steps that do not overlap."""
    rows = {c.index: n for n, c in enumerate(plan.cells)}
    lanes: list[int] = []
    lane_of: dict[int, int] = {}
    for step in sorted((s for s in plan.steps if s.kind == "cells"), key=lambda s: s.cells):
        first, last = rows[step.cells[0]], rows[step.cells[-1]]
        lane = next((n for n, end in enumerate(lanes) if end + 1 < first), len(lanes))
        if lane == len(lanes):
            lanes.append(last)
        lanes[lane] = last
        lane_of.update(dict.fromkeys(step.cells, lane + 1))
    return {
        i: Place(LEFT + lane_of.get(i, 0) * (WIDE + GAP), TOP + row * ROW, lane_of.get(i, 0))
        for i, row in rows.items()
    }


def svg(plan: Plan, notebook: Notebook) -> str:
    """Return the plan as a self-contained SVG document; every box and line carries its reason as a tool tip."""
    spots = places(plan)
    lanes = max((p.lane for p in spots.values()), default=0) + 1
    width = max(LEFT * 2 + lanes * WIDE + (lanes - 1) * GAP, 2 * LEFT + 2 * WIDE + GAP if plan.steps else 460)
    height = TOP + max(len(plan.cells), 1) * ROW + 28
    body = [
        f'<rect class="bg" width="{width}" height="{height}" rx="10"/>',
        f'<rect class="lane" x="{LEFT - 12}" y="{TOP - 34}" width="{WIDE + 24}" height="{height - TOP + 18}" rx="10"/>',
        f'<text class="head" x="{LEFT}" y="26">{escape(_headline(plan))}</text>',
        f'<text class="small" x="{LEFT}" y="{TOP - 16}">main line, top to bottom</text>',
        f'<text class="small" x="{LEFT + WIDE + GAP}" y="{TOP - 16}">{LEGEND if plan.steps else ""}</text>',
        *_spine(plan, spots),
        *_links(plan, spots),
        *_frames(plan, spots),
        *_boxes(plan, notebook, spots),
    ]
    return (
        f'<svg class="j2k" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="plan"><style>{STYLE}</style>'
        '<defs><marker id="j2k-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="context-stroke"/></marker></defs>' + "\n".join(body) + "</svg>\n"
    )


def _headline(plan: Plan) -> str:
    steps = len(plan.steps)
    if not steps:
        return f"everything stays in the main line · about {plan.serial:.3g} s"
    return f"{steps} step{'s' * (steps != 1)} · about {plan.makespan:.3g} s instead of {plan.serial:.3g} s · {plan.workers} workers"


def _spine(plan: Plan, spots: Mapping[int, Place]) -> list[str]:
    main = [spots[i] for i in plan.main if i in spots and spots[i].lane == 0]
    x = LEFT + 14
    return [f'<path class="spine" d="M{x} {a.y + HIGH}V{b.y}"/>' for a, b in pairwise(main)]


def _links(plan: Plan, spots: Mapping[int, Place]) -> list[str]:
    """Lines between lanes, one a pair of step and cell; within a lane the order says enough."""
    found = []
    for edge in plan.edges:
        kind = "back" if edge.target == MAIN else "out"
        pairs: dict[tuple[int, int], list[str]] = {}
        for reason in edge.reasons:
            if len(reason.cells) > 1:
                pairs.setdefault((reason.cells[0], reason.cells[-1]), []).append(reason.text)
        for (source, target), texts in pairs.items():
            if source in spots and target in spots:
                tip = escape("\n".join(texts))
                path = _curve(spots[source], spots[target])
                found.append(
                    f'<path class="{kind}" d="{path}" marker-end="url(#j2k-tip)"><title>{tip}</title></path>'
                )
    return found


def _curve(a: Place, b: Place) -> str:
    """Return a path that bends beside the main line's side of `a` or `b` and else keeps to a row, which holds one box."""
    y1, y2 = a.y + HIGH * 0.7, b.y + HIGH * 0.35
    if a.lane < b.lane:
        x1, turn = a.x + WIDE, a.x + WIDE + GAP * 0.75
        return f"M{x1} {y1}C{turn} {y1} {x1} {y2} {turn} {y2}H{b.x}"
    if a.lane > b.lane:
        x2, turn = b.x + WIDE, b.x + WIDE + GAP * 0.75
        return f"M{a.x} {y1}H{turn}C{x2} {y1} {turn} {y2} {x2} {y2}"
    x = a.x + WIDE
    return f"M{x} {y1}C{x + 30} {y1} {x + 30} {y2} {x} {y2}"


def _frames(plan: Plan, spots: Mapping[int, Place]) -> list[str]:
    found = []
    for step in plan.steps:
        if step.kind != "cells":
            continue
        first, last = spots[step.cells[0]], spots[step.cells[-1]]
        if len(step.cells) > 1:
            found.append(
                f'<rect class="frame" x="{first.x - 7}" y="{first.y - 7}" width="{WIDE + 14}" '
                f'height="{last.y - first.y + HIGH + 14}" rx="9"/>'
            )
        found.append(f'<text class="name" x="{first.x + 2}" y="{first.y - 10}">{escape(step.id)}</text>')
    return found


def _boxes(plan: Plan, notebook: Notebook, spots: Mapping[int, Place]) -> list[str]:
    step_of = {i: s for s in plan.steps for i in s.cells}
    why = {d.cells[0]: d.text for d in reversed(plan.decisions) if d.cells and d.rule < "J2K316"}
    found = []
    for cell in plan.cells:
        spot, step = spots[cell.index], step_of.get(cell.index)
        kind = _kind(cell, step, bool(plan.steps))
        tip = _tip(cell, step, why.get(cell.index, ""), notebook)
        seconds = f"{cell.seconds:.3g} s" if cell.seconds >= 0.05 else ""
        room = 27 if seconds else 32
        text = title(notebook, cell.index)
        text = text if len(text) <= room else text[: room - 1] + "…"
        found.append(
            f'<g><title>{escape(tip)}</title><rect class="{kind}" x="{spot.x}" y="{spot.y}" width="{WIDE}" height="{HIGH}" rx="6"/>'
            f'<text class="num" x="{spot.x + 9}" y="{spot.y + 20}">{cell.index}</text>'
            f'<text x="{spot.x + 34}" y="{spot.y + 20}">{escape(text)}</text>'
            f'<text class="num" text-anchor="end" x="{spot.x + WIDE - 9}" y="{spot.y + 20}">{seconds}</text></g>'
        )
    return found


def _kind(cell: CellPlan, step: Step | None, parallel: bool) -> str:
    if step:
        return "cell " + ("map" if step.kind == "map" else "step")
    names = "cell" + (" heavy" if cell.heavy else "")
    return names + (" wait" if cell.waits_all and parallel else "")


def _tip(cell: CellPlan, step: Step | None, why: str, notebook: Notebook) -> str:
    lines = [notebook.cells[cell.index].source.strip()[:400], "", step.reason if step else why]
    if cell.waits_all and not step:
        lines.append(f"waits until nothing earlier is unfinished: {cell.waits_all}")
    return "\n".join(lines).strip()


def mermaid(plan: Plan, notebook: Notebook) -> str:
    """Return the plan as a Mermaid flow chart: one node a cell, a frame a step, labels on the edges."""
    lines = ["flowchart TB", f"  subgraph {MAIN}[main line]"]
    gone = {i for s in plan.steps if s.kind == "cells" for i in s.cells}
    here = [c.index for c in plan.cells if c.index not in gone]
    lines += [_node(notebook, i) for i in here]
    lines += [f"    c{a} --> c{b}" for a, b in pairwise(here)]
    lines.append("  end")
    for n, step in enumerate(s for s in plan.steps if s.kind == "cells"):
        lines += [f'  subgraph s{n}["{_plain(step.id)}"]', *(_node(notebook, i) for i in step.cells)]
        lines += [f"    c{a} --> c{b}" for a, b in pairwise(step.cells)]
        lines.append("  end")
    seen: dict[tuple[int, int], list[str]] = {}
    for edge in plan.edges:
        for reason in edge.reasons:
            seen.setdefault((reason.cells[0], reason.cells[-1]), []).append(reason.name)
    lines += [f'  c{a} -. "{_plain(_names(names))}" .-> c{b}' for (a, b), names in sorted(seen.items())]
    return "\n".join(lines) + "\n"


def _names(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(n or "order" for n in names))
    return ", ".join(known[:3]) + (" …" if len(known) > 3 else "")


def _node(notebook: Notebook, index: int) -> str:
    return f'    c{index}["{index}: {_plain(title(notebook, index))}"]'


def _plain(text: str) -> str:
    """Return the text as a Mermaid label: its special signs as entities."""
    return "".join(c if c.isalnum() or c in " .,:=_-/+" else f"#{ord(c)};" for c in text)
