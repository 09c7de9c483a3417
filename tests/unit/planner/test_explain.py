"""A plan in words and pictures: everything is there, in words that need no dictionary."""

from __future__ import annotations

import pytest
from flows import cell, heavy, notebook

from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Plan
from jup2kub.planner import drawing, explain, page, plan
from jup2kub.planner.explain import title

SOURCES = {
    0: "# set up\nimport numpy as np",
    1: "#| resources: cpu=2\n\na = fit('ridge', \"<&>\")",
    2: "b = fit('forest', " + "x" * 90 + ")",
    3: "# only a remark",
    4: "c = a + b",
    5: "c.save('c.npy')",
}


@pytest.fixture
def made() -> tuple[Plan, Notebook]:
    book, graph = notebook(
        cell("", "np", definitions=frozenset({"np"})),
        heavy("np", "a"),
        heavy("np", "b"),
        cell(),
        cell("a b", "c"),
        cell("c", file_writes=("c.npy",)),
        sources=SOURCES,
    )
    return plan(book, graph), book


def test_titles_are_the_first_line_that_says_something(made: tuple[Plan, Notebook]) -> None:
    shown = [title(made[1], i) for i in range(6)]
    assert shown[0] == "import numpy as np"
    assert shown[1] == "a = fit('ridge', \"<&>\")"
    assert shown[2].endswith("…")
    assert len(shown[2]) == 60
    assert shown[3] == "# only a remark"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("%%time\nfit(x)", "fit(x)"),
        ("%matplotlib inline\nimport numpy as np\npd.options.x = 1", "pd.options.x = 1"),
        ("%matplotlib inline\nimport numpy as np", "%matplotlib inline"),
        ("%timeit fit(x)", "%timeit fit(x)"),
        ("%%bash\nls", "%%bash"),
    ],
)
def test_titles_pass_over_magics_that_only_time_or_set_up(source: str, shown: str) -> None:
    book, _ = notebook(cell(), sources={0: source})
    assert title(book, 0) == shown


def test_explain_tells_of_every_step_cell_and_edge(made: tuple[Plan, Notebook]) -> None:
    text = explain(*made)
    for words in (
        "about 4.04 s instead of 8 s",
        "step-1",
        "cell 1: a = fit('ridge', \"<&>\")",
        "in a kernel of its own it first repeats the quick cells 0",
        "it gives back `a`",
        "cell 2: b = fit('forest',",
        "sending it away would save no time here",
        "it is quick",
        "it waits until nothing earlier is unfinished: it writes `c.npy`",
        "the main line waits for step-1:\n    cell 4 needs `a`, which cell 1 makes (J2K101)",
        "needs `b` (J2K101) of cell 2",
    ):
        assert words in text


def test_explain_of_a_serial_plan_says_so(made: tuple[Plan, Notebook]) -> None:
    book, graph = notebook(cell("", "a"), cell("a", "b"))
    text = explain(plan(book, graph, mode="serial"), book)
    assert "everything runs in the main line, as asked by --plan serial" in text
    assert "Steps" not in text


def test_the_picture_has_a_box_a_cell_with_its_source_and_reason(made: tuple[Plan, Notebook]) -> None:
    picture = drawing.svg(*made)
    assert picture.count("<g><title>") == 6
    assert 'class="cell step"' in picture
    assert 'class="cell heavy"' in picture
    assert 'class="cell wait"' in picture
    assert "&lt;&amp;&gt;" in picture
    assert "cell 4 needs `a`, which cell 1 makes" in picture


def test_boxes_never_overlap(made: tuple[Plan, Notebook]) -> None:
    spots = drawing.places(made[0])
    assert len({(p.x, p.y) for p in spots.values()}) == 6
    assert sorted(p.y for p in spots.values()) == [spots[i].y for i in range(6)]


def test_mermaid_escapes_what_it_would_misread(made: tuple[Plan, Notebook]) -> None:
    chart = drawing.mermaid(*made)
    assert chart.startswith("flowchart TB\n")
    assert "#34;#60;#38;#62;#34;" in chart
    assert 'c1 -. "a" .-> c4' in chart


def test_the_page_needs_nothing_from_outside(made: tuple[Plan, Notebook]) -> None:
    text = page.html(*made)
    assert "<svg" in text
    assert "src=" not in text
    assert "href=" not in text
    assert "&lt;&amp;&gt;" in text
