from __future__ import annotations

from pathlib import Path

import pytest
from capture_world import notebook

from jup2kub import ipynb
from jup2kub.capture import names


def found(*cells: str) -> list[tuple[str, bool]]:
    imports, _ = names.of_notebook(notebook(*cells), ipynb.to_python)
    return [(i.name, i.guarded) for i in imports]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("import a.b as c, d", [("a.b", False), ("d", False)]),
        ("from a.b import c", [("a.b.c", False)]),
        ("from a import *", [("a", False)]),
        ("def f():\n    import lazy", [("lazy", False)]),
        (
            "try:\n    import fast\nexcept ImportError:\n    import slow as fast",
            [("fast", True), ("slow", True)],
        ),
        ("try:\n    import a\nexcept ValueError:\n    pass", [("a", False)]),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import t",
            [("typing.TYPE_CHECKING", False), ("t", True)],
        ),
        ("import importlib\nimportlib.import_module('x.y')", [("importlib", False), ("x.y", False)]),
        ("%load_ext autotime", [("autotime", False)]),
        ("%%time\nimport timed", [("timed", False)]),
        ("%matplotlib inline", [("matplotlib", True)]),
        (
            "import contextlib\nwith contextlib.suppress(ImportError):\n    import s",
            [("contextlib", False), ("s", True)],
        ),
    ],
)
def test_what_a_cell_imports(cell: str, expected: list[tuple[str, bool]]) -> None:
    assert found(cell) == expected


def test_cells_that_cannot_be_read_are_told() -> None:
    _, unread = names.of_notebook(notebook("import a", "x = = 1"), ipynb.to_python)
    assert unread == ("cell 1 is not Python that can be read: what it imports is not known",)


def test_local_modules_are_followed_and_packages_travel_whole(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("import tools.deep\nimport requests")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    (tmp_path / "tools" / "deep.py").write_text("from . import other\nfrom .other import x")
    (tmp_path / "tools" / "other.py").write_text("import yaml\nx = 1")
    (tmp_path / "tools" / "table.csv").write_text("1")
    (tmp_path / "tools" / "__pycache__").mkdir()
    (tmp_path / "tools" / "__pycache__" / "deep.cpython-311.pyc").write_text("")
    (tmp_path / "unused.py").write_text("import nothing")
    imports, _ = names.of_notebook(notebook("import helper"), ipynb.to_python)
    local = names.local(imports, tmp_path, lambda top: top in ("helper", "tools", "unused"))
    assert [p.relative_to(tmp_path).as_posix() for _, p in local.files] == [
        "helper.py",
        "tools/__init__.py",
        "tools/deep.py",
        "tools/other.py",
        "tools/table.csv",
    ]
    assert {i.name for i in local.imports} == {
        "tools.deep",
        "requests",
        "tools.other",
        "tools.other.x",
        "yaml",
    }
