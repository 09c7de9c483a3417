"""The shapes by which a name may outlive an iteration of a loop and still be put together in order."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from jup2kub.model.plan import Carry

METHODS = frozenset({"append", "appendleft", "extend", "extendleft", "add", "update", "insert", "discard"})
COMPARISONS = {ast.Gt: "gt", ast.Lt: "lt", ast.GtE: "ge", ast.LtE: "le"}
PLAIN_CALLS = frozenset(
    {"float", "int", "str", "dict", "list", "tuple", "set", "round", "bool", "len", "copy", "deepcopy"}
)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def shape(node: ast.stmt) -> tuple[Carry, list[ast.expr]] | None:
    """Return the carry that a statement is, and the expressions it evaluates besides; None if it is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _method(node.value)
    if isinstance(node, ast.AugAssign):
        return _stored(node.target, node.value)
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Subscript):
            return _stored(target, node.value)
        if isinstance(target, ast.Name):
            return _rebound(target.id, node.value)
    if isinstance(node, ast.If) and not node.orelse:
        return _best(node)
    return None


def _method(call: ast.Call) -> tuple[Carry, list[ast.expr]] | None:
    func = call.func
    if (
        not isinstance(func, ast.Attribute)
        or func.attr not in METHODS
        or any(k.arg is None for k in call.keywords)
    ):
        return None
    holder, parts = func.value, [*call.args, *(k.value for k in call.keywords)]
    if (
        isinstance(holder, ast.Call)
        and isinstance(holder.func, ast.Attribute)
        and holder.func.attr == "setdefault"
        and len(holder.args) == 2
        and not holder.keywords
    ):
        parts = [*holder.args, *parts]
        holder = holder.func.value
    found = _stored(holder, None)
    return (found[0], [*found[1], *parts]) if found is not None else None


def _stored(target: ast.expr, value: ast.expr | None) -> tuple[Carry, list[ast.expr]] | None:
    parts: list[ast.expr] = [] if value is None else [value]
    while isinstance(target, ast.Subscript):
        parts.append(target.slice)
        target = target.value
    return (Carry(target.id), parts) if isinstance(target, ast.Name) else None


def _rebound(name: str, value: ast.expr) -> tuple[Carry, list[ast.expr]] | None:
    if isinstance(value, ast.BinOp) and _is(value.left, name) and not _mentions(value.right, name):
        return Carry(name), [value.right]
    if not (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("max", "min")
    ):
        return None
    if len(value.args) == 2 and not value.keywords:
        for first, (one, other) in ((True, value.args), (False, reversed(value.args))):
            if _is(one, name) and not _mentions(other, name):
                return Carry(name, value.func.id, first=first), [other]
    return None


def _best(node: ast.If) -> tuple[Carry, list[ast.expr]] | None:
    test, none = node.test, ""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or) and len(test.values) == 2:
        one, test = test.values
        if not (
            isinstance(one, ast.Compare) and isinstance(one.ops[0], ast.Is) and isinstance(one.left, ast.Name)
        ):
            return None
        if not (isinstance(one.comparators[0], ast.Constant) and one.comparators[0].value is None):
            return None
        none = one.left.id
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or type(test.ops[0]) not in COMPARISONS:
        return None
    group = [t.id for s in node.body for t in _simple(s)]
    sides = (test.left, test.comparators[0])
    values = [s.value for s in node.body if isinstance(s, ast.Assign)]
    for first in (True, False):
        one, other = sides if first else (sides[1], sides[0])
        if (
            not isinstance(one, ast.Name)
            or one.id not in group
            or not _plain(values)
            or len(values) != len(node.body)
        ):
            continue
        if any(_mentions(v, n) for v in (*values, other) for n in group) or (none and none != one.id):
            continue
        op = COMPARISONS[type(test.ops[0])]
        return Carry(one.id, "best", tuple(sorted(set(group))), op, first, bool(none)), [other, *values]
    return None


def _simple(node: ast.stmt) -> list[ast.Name]:
    if not isinstance(node, ast.Assign):
        return []
    found: list[ast.Name] = []
    for target in node.targets:
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        found.extend(p for p in parts if isinstance(p, ast.Name))
    return found


def _plain(values: list[ast.expr]) -> bool:
    """Whether evaluating the values when the branch is not taken is unseen."""
    for value in values:
        for node in ast.walk(value):
            if isinstance(node, ast.Call):
                func = node.func
                if (
                    func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                ) not in PLAIN_CALLS:
                    return False
            elif isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom, ast.Lambda)):
                return False
    return True


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))


def root_of(node: ast.expr) -> str | None:
    """Return the name at the root of attributes, items and calls; None if there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def bound_names(nodes: Sequence[ast.AST]) -> set[str]:
    """Return the names that the nodes bind in their own scope."""
    found: set[str] = set()
    todo: list[ast.AST] = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).split(".")[0])
        elif (isinstance(node, ast.ExceptHandler) and node.name) or (
            isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name
        ):
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, COMPREHENSIONS):
            found |= {w.target.id for w in ast.walk(node) if isinstance(w, ast.NamedExpr)}
            continue
        if not isinstance(node, ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
    return found
