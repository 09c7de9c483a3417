"""Definitions of a cell that run before the rest of it, or without it; the cell then runs without them.

Every kernel that is to hold the classes and functions of a cell makes them from the cell's own text, under its own
file name and lines. A cell whose definitions have been made runs with `pass` in their place, so that what it shows, its
last value and its tracebacks are those of the whole cell.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from collections.abc import Collection, Iterator
from typing import Any, Callable

IMPORTS = (ast.Import, ast.ImportFrom)


class Voice(io.StringIO):
    """Keeps what is written, with the name of its stream."""

    def __init__(self, name: str, said: list[tuple[str, str]]) -> None:
        super().__init__()
        self._name, self._said = name, said

    def write(self, text: str) -> int:
        """Keep `text`."""
        self._said.append((self._name, text))
        return len(text)


@contextlib.contextmanager
def overheard(said: list[tuple[str, str]]) -> Iterator[None]:
    """Keep in `said` what Python writes to its two streams, as (stream, text)."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Voice("stdout", said), Voice("stderr", said)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def define(
    ip: Any,
    source: str,
    count: int,
    lines: Collection[int],
    rewrite: Callable[[Any], Any] | None,
) -> list[str]:
    """Run the statements of a cell that begin at `lines`, in the notebook's namespace; return the names they define.

    `rewrite`: puts the map engine under loops, as in the run of a whole cell. Raises whatever the statements raise.
    """
    text = ip.transform_cell(source)
    name = ip.compile.cache(text, count, raw_code=source)
    tree = ast.parse(text, filename=name)
    if rewrite is not None:
        tree = rewrite(tree)
    chosen = [node for node in tree.body if node.lineno in lines]
    module = ast.Module(body=chosen, type_ignores=[])
    exec(ip.compile(module, name, "exec"), ip.user_global_ns, ip.user_ns)
    return [n for node in chosen if not isinstance(node, IMPORTS) for n in _names(node)]


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [t.id for t in targets if isinstance(t, ast.Name)]


def without(tree: Any, lines: Collection[int]) -> Any:
    """Return the tree of a cell with `pass` for the definitions that begin at `lines`; imports stay."""
    body = getattr(tree, "body", None)
    if isinstance(tree, ast.Module) and lines and body:
        tree.body = [
            ast.copy_location(ast.Pass(), node)
            if node.lineno in lines and not isinstance(node, IMPORTS)
            else node
            for node in tree.body
        ]
    return tree
