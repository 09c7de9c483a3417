"""Generators that a loop's body may draw from: what seeds one, and which belong to one call alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator

SEEDS = frozenset({"default_rng", "RandomState", "Random", "Generator", "PCG64"})
DRAWS = {"numpy": "random", "random": "", "torch": ""}


def seeds(node: ast.AST) -> bool:
    """Whether a statement binds a name to a generator that it seeds."""
    return (
        isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, ast.Call)
        and last_name(node.value.func) in SEEDS
        and bool(node.value.args or node.value.keywords)
    )


def fresh(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """Local names of a function that hold nothing but generators of this call's own: they chain no two calls."""
    made: dict[str, int] = {}
    for node in own_nodes(function.body):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and seeds(node):
            given = {n.id for n in ast.walk(node.value or node) if isinstance(n, ast.Name)}
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and target.id not in given:
                    made[target.id] = made.get(target.id, 0) + 1
    stores: dict[str, int] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            stores[node.id] = stores.get(node.id, 0) + 1
        for name in node.names if isinstance(node, (ast.Global, ast.Nonlocal)) else ():
            stores[name] = -1
    own = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    return frozenset(name for name, times in made.items() if stores[name] == times and name not in own)


def draws(name: str, package: str, read: str) -> bool:
    """Whether the dotted name `read` is a draw from the global generator of `package`, imported as `name`."""
    first, *rest = read.split(".")
    if first != name or (rest or [name])[-1] in {*SEEDS, "SeedSequence"}:
        return False
    if package == "torch":
        return (rest or [name])[-1].startswith(("rand", "normal", "bernoulli", "multinomial"))
    if package == "numpy":
        return (len(rest) >= 2 and rest[0] == "random") or (name == "random" and len(rest) == 1)
    return bool(rest) or name != package


def own_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Walk `body` without the functions, classes and lambdas in it."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
