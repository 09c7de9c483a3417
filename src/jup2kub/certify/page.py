"""A certificate as one HTML page that needs nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from html import escape
from typing import Any

from .model import DIFFERENT, EQUAL, NONDETERMINISTIC, UNCOMPARED, CellReport, Certificate, Comparison

_WORDS = {
    EQUAL: "equal",
    DIFFERENT: "different",
    NONDETERMINISTIC: "not deterministic by itself",
    UNCOMPARED: "not compared",
}
_CLASS = {EQUAL: "eq", DIFFERENT: "di", NONDETERMINISTIC: "nd", UNCOMPARED: "un"}
_IMAGES = ("image/png", "image/jpeg", "image/gif")

_STYLE = """
:root{color-scheme:light dark;--eq:#2e7d32;--di:#c62828;--nd:#a06800;--un:#607080;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}
.say{font-size:1.15rem;border-left:.4rem solid;padding:.6rem 1rem;background:var(--soft)}
.eq{color:var(--eq)}.di{color:var(--di)}.nd{color:var(--nd)}.un{color:var(--un)}.say *{color:CanvasText}
.tag{font-size:.8rem;font-weight:600;white-space:nowrap}
details{border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0}
summary{cursor:pointer;padding:.4rem .8rem;display:flex;gap:1rem;align-items:baseline}
summary code{flex:1;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;opacity:.75}
.in{padding:0 .8rem .6rem}pre{background:var(--soft);padding:.5rem;overflow:auto;margin:.3rem 0;font-size:.85rem}
table{border-collapse:collapse;width:100%}td,th{border-top:1px solid var(--line);padding:.3rem .5rem;text-align:left;vertical-align:top}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:.5rem}.sides>div{min-width:0}
.sides h4{margin:.3rem 0 0;font-size:.8rem;font-weight:600}mark{background:#ffb30055;color:inherit}img{max-width:100%;background:#fff}
"""


def html(certificate: Certificate) -> str:
    """Return the page: the verdict, what was compared per cell, every difference side by side."""
    title = f"Certificate of {certificate.notebook}" if certificate.notebook else "Certificate"
    files = "".join(_row(one) for one in certificate.files)
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        _verdict(certificate),
        "<h2>Cells</h2>",
        *(_cell(cell) for cell in certificate.cells),
        f"<h2>Files left by the whole run</h2>{_table(files)}" if files else "",
        _facts("Times", certificate.timings),
        _facts("Plan", certificate.plan),
        _facts("Versions", certificate.versions),
        "</body></html>\n",
    ]
    return "".join(parts)


def _verdict(certificate: Certificate) -> str:
    counts = certificate.counts
    compared = sum(counts.values())
    if certificate.equal:
        words, kind = "The planned run gives what a sequential run gives.", EQUAL
    else:
        cells = [str(cell.index) for cell in certificate.cells if cell.verdict == DIFFERENT]
        where = f" in cell{'s' * (len(cells) > 1)} {', '.join(cells)}" if cells else " in the files it left"
        words, kind = f"The planned run gives something else{where}.", DIFFERENT
    told = ", ".join(f"{number} {_WORDS[verdict]}" for verdict, number in counts.items() if number)
    return f"<p class='say {_CLASS[kind]}'><b>{escape(words)}</b><br><span>{compared} comparisons: {told or 'none'}.</span></p>"


def _cell(cell: CellReport) -> str:
    lines = cell.source.strip().split("\n")
    opened = " open" if cell.verdict == DIFFERENT else ""
    where = f"{escape(cell.where)} · {cell.seconds:.2f} s" if cell.where else ""
    source = f"<pre>{escape(cell.source)}</pre>" if cell.source.strip() else ""
    rows = "".join(_row(one) for one in cell.comparisons)
    return (
        f"<details{opened}><summary><b>cell {cell.index}</b><code>{escape(lines[0])}</code><small>{where}</small>"
        f"{_tag(cell.verdict)}</summary><div class=in>{source}{_table(rows)}</div></details>"
    )


def _table(rows: str) -> str:
    return (
        f"<table><tr><th>compared</th><th>name</th><th>verdict</th><th></th></tr>{rows}</table>"
        if rows
        else ""
    )


def _tag(verdict: str) -> str:
    return f"<span class='tag {_CLASS[verdict]}'>{_WORDS[verdict]}</span>"


def _row(one: Comparison) -> str:
    row = f"<tr><td>{escape(one.kind)}<td><code>{escape(one.name)}</code><td>{_tag(one.verdict)}<td>{escape(one.note)}</tr>"
    if one.verdict not in (DIFFERENT, NONDETERMINISTIC) or (one.first, one.second, one.planned) == (
        None,
        None,
        None,
    ):
        return row
    sides = [("sequential", one.first, one.planned)]
    if one.second is not None:
        sides.append(("sequential, again", one.second, one.first))
    sides.append(("by plan", one.planned, one.first))
    shown = "".join(
        f"<div><h4>{title}</h4>{_side(one.name, text, other)}</div>" for title, text, other in sides
    )
    return f"{row}<tr><td colspan=4><div class=sides>{shown}</div></tr>"


def _side(name: str, text: str | None, other: str | None) -> str:
    if text is None:
        return "<pre><i>nothing</i></pre>"
    mime = name.split(" ")[0]
    if mime in _IMAGES and "…" not in text:
        return f"<img alt='' src='data:{mime};base64,{escape(''.join(text.split()))}'>"
    return f"<pre>{_marked(text, other or '')}</pre>"


def _marked(text: str, other: str) -> str:
    """Return the text with the lines marked that the other one does not have in that place."""
    here, there = text.split("\n"), other.split("\n")
    lines = []
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, here, there).get_opcodes():
        for line in here[start:end]:
            lines.append(escape(line) if tag == "equal" else f"<mark>{escape(line)}</mark>")
    return "\n".join(lines)


def _facts(title: str, facts: Mapping[str, Any]) -> str:
    if not facts:
        return ""
    rows = "".join(f"<tr><th>{escape(str(key))}<td>{_fact(value)}</tr>" for key, value in facts.items())
    return f"<h2>{title}</h2><table>{rows}</table>"


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return " · ".join(f"{escape(str(key))}: {_fact(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_fact(inner) for inner in value)
    return escape(f"{value:.3f}" if isinstance(value, float) else str(value))
