"""Which names are local to a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from jup2kub.analyse.values import Names

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def parameters(args: ast.arguments) -> list[ast.arg]:
    """Return all parameters, in the order by which they are numbered."""
    extra = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *extra]


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a body without those of nested functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, SCOPES):
            yield from inside(child)


def globals_of(node: ast.AST) -> Names:
    """Return the names that a function declares global."""
    return frozenset(n for s in inside(node) if isinstance(s, ast.Global) for n in s.names)


def locals_of(node: Function) -> Names:
    """Return the names that a function binds for itself, parameters included."""
    names = {a.arg for a in parameters(node.args)}
    for child in inside(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, (ast.Store, ast.Del)):
            names.add(child.id)
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(child.name)
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            names |= {a.asname or a.name.partition(".")[0] for a in child.names}
        elif isinstance(child, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and child.name:
            names.add(child.name)
        elif isinstance(child, ast.MatchMapping) and child.rest:
            names.add(child.rest)
    declared = {n for s in inside(node) if isinstance(s, (ast.Global, ast.Nonlocal)) for n in s.names}
    return frozenset(names - declared - _comprehension_names(node))


def _comprehension_names(node: ast.AST) -> set[str]:
    """Return names bound only by comprehensions."""
    own: set[str] = set()
    other: set[str] = set()
    for child in inside(node):
        if isinstance(child, COMPREHENSIONS):
            for generator in child.generators:
                own |= {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
    targets = {
        id(n)
        for c in inside(node)
        if isinstance(c, COMPREHENSIONS)
        for g in c.generators
        for n in ast.walk(g.target)
    }
    for child in inside(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store) and id(child) not in targets:
            other.add(child.id)
    args = getattr(node, "args", None)
    return own - other - ({a.arg for a in parameters(args)} if isinstance(args, ast.arguments) else set())


def is_generator(node: Function) -> bool:
    """Whether calling the function gives a generator."""
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in inside(node))
