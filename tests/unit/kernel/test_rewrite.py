"""Loops under the map engine: the functions that hold them count as the user wrote them."""

from __future__ import annotations

import ast
from typing import Any

from jup2kub.kernel import digests, lifting, rewrite

CELL = """\
def total(values):
    found = 0
    for v in values:
        found += v
    return found


table = {"sum": total}
"""
LOOP = {
    "cell": 1,
    "line": 3,
    "column": 4,
    "function": "total",
    "carried": [{"name": "found", "kind": "sum", "op": "+"}],
    "reads": ["values"],
}


def made(tree: ast.Module, space: dict[str, Any] | None = None) -> dict[str, Any]:
    space = {"__name__": "__main__"} if space is None else space
    exec(compile(tree, "cell", "exec"), space)
    return space


def test_a_function_with_a_wrapped_loop_has_the_digest_of_its_text() -> None:
    plain = made(ast.parse(CELL))
    wrapped = made(rewrite.rewrite(ast.parse(CELL), [LOOP]))
    assert wrapped["total"].__code__.co_code != plain["total"].__code__.co_code
    assert digests.digest(wrapped["total"]) == digests.digest(plain["total"])


def test_so_does_one_whose_definition_was_made_apart_from_its_cell() -> None:
    expected = digests.digest(made(ast.parse(CELL))["table"])
    whole = rewrite.rewrite(ast.parse(CELL), [LOOP])
    whole.body = whole.body[:1]
    space = made(whole)
    rest = rewrite.rewrite(lifting.without(ast.parse(CELL), {1}), [LOOP])
    assert digests.digest(made(rest, space)["table"]) == expected


def test_what_others_hang_on_shared_nodes_is_not_copied() -> None:
    """Libraries that show tracebacks give every node a parent, `ast.Load()` too, which all trees share."""
    node = ast.parse("[f(x) for x in xs]").body[0]
    shared = ast.parse("y", mode="eval").body.ctx  # type: ignore[attr-defined]
    shared.parent = huge = ast.parse("a = 1")
    try:
        copied = rewrite.copy_of(node)
        assert ast.dump(copied, include_attributes=True) == ast.dump(node, include_attributes=True)
        assert not any(part in ast.walk(node) for part in ast.walk(copied) if part._fields)
        parents = {id(getattr(part, "parent", None)) for part in ast.walk(copied)}
        assert id(huge) not in parents
    finally:
        del shared.parent
