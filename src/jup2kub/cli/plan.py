"""`jup2kub plan`: what would run where, and why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from jup2kub import planner
from jup2kub.cli import common
from jup2kub.compose import compile_notebook, open_store, read_notebook
from jup2kub.errors import EXIT_OK
from jup2kub.kit.canon import to_json
from jup2kub.model.plan import Plan
from jup2kub.planner import drawing, page


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    common.notebook_options(parser)
    parser.add_argument(
        "--explain", action="store_true", help="give the reason for every edge, cell and step"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the plan")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the plan as a page")
    parser.add_argument("--mermaid", action="store_true", help="print the plan as a Mermaid graph")


def act(options: argparse.Namespace) -> int:
    """Run the verb."""
    wanted = common.settings(options, common.one_set(options, "plan"))
    common.say_of_parameters(wanted, [wanted.parameters])
    store = open_store(wanted)
    try:
        notebook = read_notebook(wanted)
        plan = compile_notebook(notebook, wanted, store).plan
    finally:
        store.close()
    if options.svg:
        common.save(options.svg, drawing.svg(plan, notebook))
    if options.html:
        common.save(options.html, page.html(plan, notebook))
    if options.json:
        common.result(json.dumps(as_json(plan), ensure_ascii=False))
    elif options.mermaid:
        common.result(drawing.mermaid(plan, notebook))
    else:
        common.result(planner.explain(plan, notebook) if options.explain else summary(plan))
    return EXIT_OK


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as other programs read it: edges have `from` and `to`."""
    document: dict[str, Any] = to_json(plan)
    for edge in (*document["edges"], *document["cell_edges"]):
        edge["from"], edge["to"] = edge.pop("source"), edge.pop("target")
    return document


def summary(plan: Plan) -> str:
    """Return the plan in a few lines."""
    cells, steps = common.count(len(plan.cells), "code cell"), common.count(len(plan.steps), "step")
    lines = [f"{cells}: {len(plan.main)} in the main line, {steps}"]
    for step in plan.steps:
        cells = ", ".join(map(str, step.cells))
        lines.append(f"  {step.id}: cell {cells} ({step.kind}){' - ' + step.reason if step.reason else ''}")
    lines.append(
        f"predicted {common.duration(plan.makespan)} with {plan.workers} workers, "
        f"{common.duration(plan.serial)} in one kernel"
    )
    return "\n".join([*lines, "`--explain` gives every reason"])
