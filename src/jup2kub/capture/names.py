"""Which modules the text of a notebook imports, and which of them lie in its own folder."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jup2kub.analyse import magics
from jup2kub.model.notebook import Notebook

ToPython = Callable[[str], str | None]
FORGIVING = frozenset(("ImportError", "ModuleNotFoundError", "Exception", "BaseException"))
LOADS = frozenset(("load_ext", "reload_ext"))


@dataclass(frozen=True)
class Import:
    """One module that some text names."""

    name: str
    """Dotted; `from a import b` is `a.b`, which may be an attribute."""
    where: str
    """`cell 3`, or the file of a local module."""
    line: int
    """From 1."""
    guarded: bool
    """Whether the text goes on without it (`try` … `except ImportError`, `if TYPE_CHECKING`)."""
    level: int = 0
    """Leading dots of a relative import."""


def of_notebook(notebook: Notebook, to_python: ToPython) -> tuple[tuple[Import, ...], tuple[str, ...]]:
    """Return what the code cells import, and in words which cells could not be read."""
    found: list[Import] = []
    unread = []
    for cell in notebook.code:
        try:
            tree = magics.inline(ast.parse(cell.python or ""), to_python)
        except (SyntaxError, ValueError, RecursionError):
            tree = None
        if cell.python is None or tree is None:
            unread.append(f"cell {cell.index} is not Python that can be read: what it imports is not known")
        else:
            found += of_tree(tree, f"cell {cell.index}")
    return tuple(found), tuple(unread)


def of_tree(tree: ast.AST, where: str) -> list[Import]:
    """Return the imports of a parsed text, in order."""
    return list(_walk(tree, where, False))


def _walk(node: ast.AST, where: str, guarded: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(a.name, where, node.lineno, guarded) for a in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        for alias in node.names:
            name = base if alias.name == "*" else f"{base}.{alias.name}".strip(".")
            yield Import(name, where, node.lineno, guarded, node.level)
    elif isinstance(node, ast.Call):
        called = _called(node)
        if called:
            yield Import(called[0], where, node.lineno, guarded or called[1])
    if isinstance(node, ast.Try) and _forgives(node):
        guarded = True
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.body:
            yield from _walk(statement, where, True)
        for statement in node.orelse:
            yield from _walk(statement, where, guarded)
        return
    elif isinstance(node, ast.With) and any("suppress" in ast.dump(i.context_expr) for i in node.items):
        guarded = True
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, where, guarded)


def _forgives(node: ast.Try) -> bool:
    for handler in node.handlers:
        if handler.type is None:
            return True
        names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
        if names & FORGIVING:
            return True
    return False


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _called(node: ast.Call) -> tuple[str, bool] | None:
    """Return the module that `importlib.import_module("x")`, `__import__("x")` or a magic loads, and if it may lack."""
    magic = magics.magic_of(node)
    if magic is not None and magic[0] == "run_line_magic" and magic[1]:
        name, *rest = magic[1]
        if name in LOADS and rest and rest[0].strip():
            return rest[0].strip(), False
        # IPython itself brings what `inline` needs; other backends are the user's.
        return ("matplotlib", True) if name in ("matplotlib", "pylab") else None
    function = node.func
    loads = (isinstance(function, ast.Name) and function.id in ("__import__", "import_module")) or (
        isinstance(function, ast.Attribute) and function.attr == "import_module"
    )
    first = node.args[0] if node.args else None
    if loads and isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value:
        return (first.value, False) if not first.value.startswith(".") else None
    return None


@dataclass(frozen=True)
class Local:
    """Files of the project that the notebook imports."""

    files: tuple[tuple[str, Path], ...]
    """Dotted module name and file, sorted by path."""
    imports: tuple[Import, ...]
    """What these import themselves, relative imports resolved."""


def local(imports: Iterable[Import], folder: Path, is_local: Callable[[str], bool]) -> Local:
    """Follow `imports` into the project's folder.

    `is_local` tells whether a top-level name is a module of the project. A package travels whole: what it loads by
    itself the text does not tell. Symbolic links that lead out of the folder are followed, as Python follows them.
    """
    files: dict[Path, str] = {}
    further: list[Import] = []
    todo = [i.name for i in imports if not i.level and is_local(i.name.partition(".")[0])]
    seen: set[str] = set()
    while todo:
        top = todo.pop().partition(".")[0]
        if top in seen:
            continue
        seen.add(top)
        for name, path in module_files(folder, top):
            files[path] = name
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            for found in _of_file(path, str(path.relative_to(folder)), package):
                further.append(found)
                if is_local(found.name.partition(".")[0]):
                    todo.append(found.name)
    return Local(tuple(sorted(((n, p) for p, n in files.items()), key=lambda f: str(f[1]))), tuple(further))


def module_files(folder: Path, top: str) -> list[tuple[str, Path]]:
    """Return the files of a top-level module: the one file, or all of a package's but caches and hidden ones."""
    single = [p for p in sorted(folder.glob(f"{top}.*")) if p.suffix in (".py", ".so")]
    if not (folder / top).is_dir():
        return [(top, p) for p in single if p.is_file()]
    if not (folder / top / "__init__.py").is_file() and single:
        return [(top, p) for p in single]
    found = []
    for place, folders, names in os.walk(folder / top):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or path.suffix == ".pyc" or not path.is_file():
                continue
            parts = list(path.relative_to(folder).with_suffix("").parts)
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append((dotted, path))
    return found


def _of_file(path: Path, where: str, package: str) -> Iterator[Import]:
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for found in of_tree(tree, where):
        if not found.level:
            yield found
            continue
        parents = package.split(".")
        base = ".".join(parts for parts in parents[: len(parents) - found.level + 1])
        if base:
            yield Import(f"{base}.{found.name}".strip("."), where, found.line, found.guarded)
