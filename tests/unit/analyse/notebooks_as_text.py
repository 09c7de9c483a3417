"""Builds notebooks from the text of cells, as the reader of notebooks does."""

from __future__ import annotations

import ast
from collections.abc import Callable

from IPython.core.inputtransformer2 import TransformerManager

from jup2kub.model.flow import FlowGraph
from jup2kub.model.notebook import Cell, Notebook

Build = Callable[..., Notebook]
Analyse = Callable[..., FlowGraph]


def transform(source: str) -> str | None:
    """Return a cell as Python, or None if it does not parse."""
    text: str = TransformerManager().transform_cell(source)
    try:
        compile(text, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return None
    return text


def build(*sources: str, tags: dict[int, str] | None = None) -> Notebook:
    """Return a notebook of code cells."""
    cells = [
        Cell(
            i,
            f"c{i}",
            "code",
            s,
            frozenset({(tags or {})[i]} if i in (tags or {}) else ()),
            python=transform(s),
        )
        for i, s in enumerate(sources)
    ]
    return Notebook(tuple(cells), "python3", "python", {})


def ancestors(graph: FlowGraph) -> dict[int, set[int]]:
    """Return for every cell all cells that it follows."""
    found: dict[int, set[int]] = {}
    before = graph.before()
    for index in graph.cells:
        found[index] = set(before[index]).union(*(found[i] for i in before[index]))
    return found
