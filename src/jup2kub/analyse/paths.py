"""Paths as the text tells them: `*` stands for what it does not tell."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Sequence

from jup2kub.analyse.values import Value

ANY = "*"


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


def normal(path: str) -> str:
    """Return the path in one form, so that equal files have equal names."""
    return posixpath.normpath(path) if path else "."


def writing(mode: str) -> bool:
    """Whether a file opened in this mode may be written; an unknown mode may."""
    return any(c in mode for c in "wax+?")


def overlap(one: str, other: str, moved: bool = False) -> bool:
    """Whether two paths may be one file, or one the folder of the other. `moved`: the working folder has changed."""
    if one == other or ANY in (one, other):
        return True
    a, b = normal(one), normal(other)
    if _suffixed(a, b) or _suffixed(b, a):
        return True
    if (
        a.startswith("/") != b.startswith("/")
        or moved
        or a.startswith(("..", "~"))
        or b.startswith(("..", "~"))
    ):
        a, b = posixpath.basename(a), posixpath.basename(b)
        return _match(a, b) or ANY in (a[:1], b[:1]) or "." not in a or "." not in b
    return _match(a, b) or _inside(a, b) or _inside(b, a)


def _match(a: str, b: str) -> bool:
    if not _wild(a) and not _wild(b):
        return a == b
    head_a, head_b = _head(a), _head(b)
    tail_a, tail_b = _tail(a), _tail(b)
    heads = head_a.startswith(head_b) or head_b.startswith(head_a)
    tails = tail_a.endswith(tail_b) or tail_b.endswith(tail_a)
    if not _wild(a):
        return a.startswith(head_b) and a.endswith(tail_b)
    if not _wild(b):
        return b.startswith(head_a) and b.endswith(tail_a)
    return heads and tails


def _suffixed(path: str, longer: str) -> bool:
    """Whether `longer` is `path` with the suffix that some writers add (`np.save`, `savefig`)."""
    return "." not in posixpath.basename(path) and longer.startswith(path + ".")


def _inside(path: str, folder: str) -> bool:
    if folder == ".":
        return not path.startswith("/")
    head = _head(path) if _wild(path) else path
    return not _wild(folder) and head.startswith(folder.rstrip("/") + "/")


def _wild(path: str) -> bool:
    return any(c in path for c in "*?[")


def _head(path: str) -> str:
    cut = min((path.index(c) for c in "*?[" if c in path), default=len(path))
    return path[:cut]


def _tail(path: str) -> str:
    cut = max((path.rfind(c) for c in "*?]" if c in path), default=-1)
    return path[cut + 1 :]
