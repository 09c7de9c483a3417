"""A plan as one self-contained web page: the picture, and every reason beside it."""

from __future__ import annotations

from html import escape

from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Decision, Plan, Step

from .drawing import svg
from .edges import MAIN
from .explain import title

STYLE = """
:root{color-scheme:light dark;--ink:#2b2b2b;--soft:#6d6b64;--line:#e3e0d6;--paper:#fff;--back:#f6f5f1;--blue:#3a7ca5}
@media (prefers-color-scheme:dark){:root{--ink:#e6e4de;--soft:#a3a098;--line:#3a3d40;--paper:#232527;--back:#18191b}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,sans-serif}
header,main{max-width:1200px;margin:0 auto;padding:24px}h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 10px}
header p{color:var(--soft);margin:0}section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:4px 20px 18px;margin-bottom:18px}
.picture{overflow:auto;padding:16px}.picture svg{max-width:none}table{border-collapse:collapse;width:100%}
td,th{padding:6px 10px;border-top:1px solid var(--line);text-align:left;vertical-align:top}th{color:var(--soft);font-weight:500;font-size:13px}
td:first-child{white-space:nowrap;color:var(--soft);font-variant-numeric:tabular-nums}code{font:13px ui-monospace,monospace}
.hint{color:var(--blue)}.rule{color:var(--soft);font-size:12px;white-space:nowrap}
"""


def html(plan: Plan, notebook: Notebook) -> str:
    """Return the plan as an HTML document that needs nothing from outside."""
    why = {d.cells[0]: d for d in reversed(plan.decisions) if d.cells and d.rule < "J2K316"}
    whole = " ".join(d.text for d in plan.decisions if d.rule == "J2K321")
    gone = {i for s in plan.steps if s.kind == "cells" for i in s.cells}
    parts = [
        f'<section class="picture">{svg(plan, notebook)}</section>',
        _table("Steps", ("step", "cells", "why"), [_step(s, notebook) for s in plan.steps]),
        _table("What waits for what", ("who", "for whom", "why"), _edges(plan)),
        _table(
            "The main line",
            ("cell", "", "why it stays"),
            [(str(i), _code(title(notebook, i)), _why(why.get(i))) for i in plan.main if i not in gone],
        ),
        _table(
            "Notes",
            ("rule", "", ""),
            [
                (d.rule, "", _why(d))
                for d in plan.decisions
                if not d.rule.startswith(("J2K30", "J2K31", "J2K32"))
            ],
        ),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>Plan</title><style>{STYLE}</style></head><body>'
        f"<header><h1>Plan</h1><p>{escape(whole)}</p></header><main>{''.join(parts)}</main></body></html>\n"
    )


def _table(name: str, heads: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> str:
    """Return a section with a table; the cells of `rows` are HTML already."""
    if not rows:
        return ""
    top = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<section><h2>{escape(name)}</h2><table><tr>{top}</tr>{body}</table></section>"


def _step(step: Step, notebook: Notebook) -> tuple[str, str, str]:
    cells = "<br>".join(f"{i}: {_code(title(notebook, i))}" for i in step.cells)
    return escape(step.id), cells, escape(step.reason)


def _edges(plan: Plan) -> list[tuple[str, str, str]]:
    rows = []
    for edge in plan.edges:
        source, target = ("the main line" if n == MAIN else n for n in (edge.source, edge.target))
        reasons = "<br>".join(
            f'{escape(r.text)} <span class="rule">{escape(r.rule)}</span>' for r in edge.reasons
        )
        rows.append((escape(target), escape(source), reasons))
    return rows


def _why(decision: Decision | None) -> str:
    if decision is None:
        return "everything runs here, in order"
    hint = f' <span class="hint">hint: {escape(decision.hint)}</span>' if decision.hint else ""
    return f'{escape(decision.text)}{hint} <span class="rule">{escape(decision.rule)}</span>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
