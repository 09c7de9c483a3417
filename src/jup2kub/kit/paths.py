"""Paths of files as texts: which of them may be one file. `*` stands for what a text does not tell."""

from __future__ import annotations

import posixpath

ANY = "*"


def normal(path: str) -> str:
    """Return the path in one form, so that equal files have equal names."""
    return posixpath.normpath(path) if path else "."


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
