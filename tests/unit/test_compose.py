"""What is read of the project beside the notebook, and what later plans add to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jup2kub import ipynb
from jup2kub.compose import imported, local_modules, strangers
from jup2kub.model.plan import CellEdge, CellPlan, Plan, with_edges


@pytest.mark.parametrize(
    ("text", "package", "names"),
    [
        ("import a.b, c as d", "", {"a", "a.b", "c"}),
        ("from a import b", "", {"a", "a.b"}),
        ("def f():\n    import late", "", {"late"}),
        ("from . import b", "pack", {"pack", "pack.b"}),
        ("from .sub import x", "pack", {"pack", "pack.sub", "pack.sub.x"}),
        ("from . import b", "", set()),
        ("not python !", "", set()),
    ],
)
def test_imported_modules(text: str, package: str, names: set[str]) -> None:
    assert imported(text, package) == names


def test_modules_of_the_project_are_found_through_each_other(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from . import core\n")
    (tmp_path / "pack" / "core.py").write_text("import helper, labware\n")
    (tmp_path / "helper.py").write_text("import json, scipy\n")
    (tmp_path / "other.py").write_text("")
    notebook = ipynb.read(b"# %%\nimport pack, numpy, chemkit.units\n", "nb.py")
    found = local_modules(notebook, tmp_path)
    assert set(found) == {"pack", "pack.core", "helper"}
    assert strangers(notebook, found) == {
        "pack": "@mod:pack",
        "pack.core": "@mod:pack.core",
        "helper": "@mod:helper",
        "labware": "@lib:labware",
        "chemkit": "@lib:chemkit",
    }


def plan(*cells: CellPlan, edges: tuple[CellEdge, ...] = (), text: tuple[tuple[int, int], ...] = ()) -> Plan:
    """Return a plan of these cells."""
    main = tuple(c.index for c in cells)
    return Plan(1, "static", 2, "source", cells, main, (), (), edges, (), text_edges=text)


def test_plan_takes_versions_and_edges_of_a_better_informed_one_and_keeps_its_own() -> None:
    x, y = frozenset("x"), frozenset("y")
    first = CellEdge(0, 2, "J2K101", "x")
    found = CellEdge(1, 2, "J2K104", "x")
    old = plan(CellPlan(0, defines=x), CellPlan(1), CellPlan(2, reads=x | y, before=(0,)), edges=(first,))
    new = plan(
        CellPlan(0, defines=x),
        CellPlan(1, mutates=x, reads=x, before=(0,)),
        CellPlan(2, reads=x, before=(1,), heavy=True),
        edges=(first, found),
        text=((0, 2),),
    )
    both = with_edges(old, new)
    assert both.cell_edges == (first, found)
    assert both.text_edges == ((0, 2),)
    assert both.cells[1].writes == x
    assert both.cells[2].reads == x | y
    assert both.cells[2].before == (0, 1)
    assert not both.cells[2].heavy, "what leaves was decided"
    assert with_edges(both, old) == both
