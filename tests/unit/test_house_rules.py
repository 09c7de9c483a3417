"""The rules that every module keeps; the layers are import-linter's part."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "jup2kub"
MODULES = sorted(SOURCE.rglob("*.py"))
MODULE_LINES = 400
FUNCTION_LINES = 60
SPEAKS_FOR_ITSELF = 8
"""Lines; a shorter function may leave the words to its name and types."""

PODS = ("kernel/", "store/", "agent/", "model/", "kit/", "cluster/", "manifests/")
TASKS = ("part.py", "collect.py", "ipynb/write.py")
"""Modules of the program that tasks of an exported notebook run."""
OUTSIDE = {"cluster/forward.py", "cluster/outside.py"}
"""Beside them, but for the user's machine only."""
OLD_PYTHON = [
    p
    for p in MODULES
    if (
        str(p.relative_to(SOURCE)).startswith((*PODS, "errors.py", *TASKS))
        and str(p.relative_to(SOURCE)) not in OUTSIDE
    )
    or (p.relative_to(SOURCE).parts[0] == "engine" and p.name != "foreign.py")
]
"""What runs in a user's interpreter or in a pod: Python 3.9 and the standard library."""
INTERPRETER = {"IPython", "ipykernel", "jupyter_client", "traitlets", "tornado", "comm", "zmq"}
"""What every environment with an ipykernel has; `kernel/` may import it."""
FORBIDDEN = re.compile(
    r"/work/|\.\./shared|DESIGN\.md|\bissues show\b|pypi\.org|pythonhosted|index-url|find-links"
)
"""The text of the project speaks of itself alone, on any machine."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Absolute names of imported modules with their lines; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def test_modules_are_short() -> None:
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    assert {k: n for k, n in lengths.items() if n >= MODULE_LINES} == {}


def test_functions_are_short() -> None:
    found = [
        f"{name_of(p)}:{f.lineno} {f.name}"
        for p in MODULES
        for f in functions(tree_of(p))
        if (f.end_lineno or 0) - f.lineno + 1 >= FUNCTION_LINES
    ]
    assert found == []


def test_nothing_of_ours_is_imported_inside_a_function() -> None:
    found = [
        f"{name_of(p)}:{line}"
        for p in MODULES
        for f in functions(tree_of(p))
        for module, line in imports(f)
        if module.startswith((".", "jup2kub"))
    ]
    assert found == []


def test_only_the_command_line_prints() -> None:
    found = [
        f"{name_of(p)}:{node.lineno}"
        for p in MODULES
        if "cli" not in p.parts
        for node in ast.walk(tree_of(p))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_public_is_described(path: Path) -> None:
    tree = tree_of(path)
    if not tree.body:
        return
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and (isinstance(node, ast.ClassDef) or (node.end_lineno or 0) - node.lineno >= SPEAKS_FOR_ITSELF)
    ]
    assert silent == []


def test_the_folders_of_pods_are_found() -> None:
    assert {p.relative_to(SOURCE).parts[0] for p in OLD_PYTHON} >= {f.strip("/") for f in PODS} | {
        "errors.py",
        "engine",
    }


@pytest.mark.parametrize("path", OLD_PYTHON, ids=name_of)
def test_pods_and_kernels_keep_to_python_3_9(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    ast.parse(source, str(path), feature_version=(3, 9))
    assert [f"line {line}" for line in unions_at_run_time(tree_of(path))] == []


def unions_at_run_time(tree: ast.Module) -> Iterator[int]:
    """Lines of `X | Y` between types that Python 3.9 would evaluate, and fail.

    Annotations are never evaluated in a module that begins with the `annotations` future import. Elsewhere a union is
    told by a side that only a type can be: None, or a subscripted or builtin type.
    """
    later = any(
        isinstance(n, ast.ImportFrom) and n.module == "__future__" and n.names[0].name == "annotations"
        for n in tree.body
    )
    notes: set[int] = set()
    for node in ast.walk(tree) if later else ():
        fields = [getattr(node, name, None) for name in ("annotation", "returns")]
        notes.update(id(part) for field in fields if field is not None for part in ast.walk(field))
    for node in ast.walk(tree):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.BitOr) or id(node) in notes:
            continue
        if is_type(node.left) or is_type(node.right):
            yield node.lineno


def is_type(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None
    return isinstance(node, ast.Name) and node.id in {
        "int",
        "str",
        "bytes",
        "float",
        "bool",
        "list",
        "dict",
        "tuple",
    }


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from __future__ import annotations\ndef f(x: int | None) -> str | None: ...", []),
        ("def f(x: int | None): ...", [1]),
        ("from __future__ import annotations\nName = str | None", [2]),
        ("flags = a | b", []),
    ],
)
def test_unions_are_told_from_flags(source: str, found: list[int]) -> None:
    assert list(unions_at_run_time(ast.parse(source))) == found


@pytest.mark.parametrize("path", OLD_PYTHON, ids=name_of)
def test_pods_and_kernels_import_the_standard_library_alone(path: Path) -> None:
    tree = tree_of(path)
    kernel = "kernel" in path.relative_to(SOURCE).parts
    allowed = set(sys.stdlib_module_names) | (INTERPRETER if kernel else {"jup2kub"})
    tried = {line for node in ast.walk(tree) if isinstance(node, ast.Try) for _, line in optional(node)}
    strangers = [
        f"line {line}: {module}"
        for module, line in imports(tree)
        if not module.startswith(".") and module.split(".")[0] not in allowed and line not in tried
    ]
    assert strangers == []


def optional(node: ast.Try) -> Iterator[tuple[str, int]]:
    """Imports that may fail, because a handler for that stands beside them."""
    caught = {n.id for h in node.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)}
    if caught & {"ImportError", "ModuleNotFoundError", "Exception"}:
        for statement in node.body:
            yield from imports(statement)


def test_the_text_speaks_of_the_project_alone() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    mine = {Path(__file__).relative_to(ROOT).as_posix(), "Makefile"}
    found = []
    for name in listed:
        path = ROOT / name
        if not name or name in mine or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{name}: {hit.group()}" for hit in FORBIDDEN.finditer(text)]
    assert found == []
