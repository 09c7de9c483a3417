"""Selectors in nbmanips' words cut where nbmanips itself cuts; and ours cut there too, where they mean the same."""

from __future__ import annotations

import copy
import json

import pytest

from jup2kub import ipynb
from jup2kub.capture.split import split

nbmanips = pytest.importorskip(
    "nbmanips", reason="THE OPTIONAL EXTRA nbmanips IS NOT INSTALLED (GPL-3 dependency)"
)

CELLS = (
    ("code", "import os"),
    ("markdown", "## Load"),
    ("code", "x = 1"),
    ("markdown", "Fit\n---\n"),
    ("code", "y = x"),
    ("markdown", "## Show\n\ntext"),
)


def document() -> dict[str, object]:
    cells = [
        {"cell_type": k, "id": f"c{i}", "metadata": {}, "source": s}
        | ({"outputs": [], "execution_count": None} if k == "code" else {})
        for i, (k, s) in enumerate(CELLS)
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


@pytest.mark.parametrize(
    ("selector", "select", "ours"),
    [
        ("select has_html_tag h2 | split -s", [("has_html_tag", "h2")], "h2"),
        ("select contains Load | split -s", [("contains", "Load")], "match Load"),
        ("select code_cells | split -s", [("code_cells",)], "cells"),
        (
            "select markdown_cells | select has_match ^## | split",
            [("markdown_cells",), ("has_match", "^##")],
            "match ^##",
        ),
    ],
)
def test_as_nbmanips_does(selector: str, select: list[tuple[str, ...]], ours: str) -> None:
    notebook = ipynb.read(json.dumps(document()).encode(), "study.ipynb")
    theirs = nbmanips.Notebook(copy.deepcopy(document()))
    for words in select:
        theirs = theirs.select(*words)
    expected = [len(part) for part in theirs.split_on_selection()]
    assert [len(p.cells) for p in split(notebook, selector)] == expected
    assert [len(p.cells) for p in split(notebook, ours)] == expected
