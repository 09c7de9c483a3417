from __future__ import annotations

import pytest
from capture_world import notebook
from hypothesis import given
from hypothesis import strategies as st

from jup2kub.capture import split
from jup2kub.errors import EnvironmentProblem, UsageError

STUDY = notebook(
    "import os", "MD:## Load", "# not a heading\nx = 1", "MD:Fit\n---\ntext", "y = x", "MD:```\n## no\n```"
)


@pytest.mark.parametrize(
    ("selector", "parts"),
    [
        ("h2", [(0,), (1, 2), (3, 4, 5)]),
        ("headings", [(0,), (1, 2), (3, 4, 5)]),
        ("cells", [(0, 1), (2, 3), (4, 5)]),
        ("match ^F", [(0, 1, 2), (3, 4, 5)]),
    ],
)
def test_a_boundary_lies_before_every_selected_cell(selector: str, parts: list[tuple[int, ...]]) -> None:
    assert [p.cells for p in split.split(STUDY, selector)] == parts


def test_names_of_parts() -> None:
    assert [p.name for p in split.split(STUDY, "h2")] == ["01", "02-load", "03-fit"]


@pytest.mark.parametrize("selector", ["h7", "h2 x", "", "match (", "tag", "select a | keep", "'"])
def test_selectors_that_are_not_understood(selector: str) -> None:
    with pytest.raises(UsageError, match="J2K690"):
        split.split(STUDY, selector)


def test_a_selector_that_selects_nothing() -> None:
    with pytest.raises(UsageError, match="J2K691"):
        split.split(STUDY, "h5")


def test_nbmanips_words_without_nbmanips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="J2K692"):
        split.split(STUDY, "select has_html_tag h2 | split -s")


@given(st.lists(st.sampled_from(["MD:# a", "MD:## b", "MD:text", "x = 1", "# c"]), min_size=1, max_size=12))
def test_parts_together_are_the_notebook(cells: list[str]) -> None:
    made = notebook(*cells)
    if not any(split.headings(c.source) for c in made.cells if c.kind == "markdown"):
        with pytest.raises(UsageError, match="J2K691"):
            split.split(made, "headings")
        return
    parts = split.split(made, "headings")
    assert [i for p in parts for i in p.cells] == list(range(len(cells)))
    documents = [split.part_document(made, p) for p in parts]
    assert [c["id"] for d in documents for c in d["cells"]] == [c.id for c in made.cells]
