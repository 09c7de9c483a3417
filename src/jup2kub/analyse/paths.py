"""Paths as the text tells them: `*` stands for what it does not tell."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Sequence

from jup2kub.analyse.values import Value
from jup2kub.kit.paths import ANY as ANY


def combine(op: ast.operator, left: Value, right: Value) -> str | None:
    """Return the text of `left op right` for strings and paths."""
    if left.text is None and right.text is None:
        return None
    one, two = left.text or ANY, right.text or ANY
    if isinstance(op, ast.Add):
        return one + two
    if isinstance(op, ast.Div):
        return join([one, two])
    if isinstance(op, ast.Mod):
        return ANY
    return None


def made_by(dotted: str, values: Sequence[Value]) -> str | None:
    """Return the path that a call of a function of `os` gives, or None if it gives none."""
    texts = [v.text for v in values]
    if dotted == "os.path.join":
        return join([t or ANY for t in texts])
    if dotted in SAME_PATH and texts:
        return texts[0]
    return None


SAME_PATH = frozenset(
    [f"os.path.{n}" for n in ("abspath", "normpath", "realpath", "expanduser")] + ["os.fspath"]
)


def join(parts: list[str]) -> str:
    """Return the parts as one path, as `os.path.join` does."""
    path = ""
    for part in parts:
        path = posixpath.join(path, part) if path else part
    return path


def writing(mode: str) -> bool:
    """Whether a file opened in this mode may be written; an unknown mode may."""
    return any(c in mode for c in "wax+?")
