"""Small questions about expressions and classes."""

from __future__ import annotations

import ast

from jup2kub.analyse.values import Code, Names, Role, Value


def code_value(code: object, role: str) -> Value:
    """Return the value that holds one piece of code."""
    return Value(code=frozenset({(code, role)}))  # type: ignore[arg-type]


def lookup(value: Value, name: str) -> Value | None:
    """Return what the classes that `value` holds, or their notebook bases, bind to `name`."""
    for code, _ in value.code:
        if name in code.methods:
            return code.methods[name]
        for base in code.bases:
            found = lookup(base, name)
            if found is not None:
                return found
    return None


def of_all(member: Value) -> bool:
    """Whether what a class body binds is something changeable that all objects of the class have in common."""
    if member.atom or member.type == "function":
        return False
    return member.type != "definition" or any(r[0] != "~" for r in member.roots)


def bound_to(value: Value, member: Value) -> Value:
    """Return what a class binds as it is reached through an object of it."""
    return Value(value.roots, frozenset((c, "bound") for c, _ in member.code), of=value.code)


def class_labels(roots: Names) -> Names:
    """Return the labels of the classes of objects: of a parameter's, `%i'`."""
    return frozenset(r + "'" if r[0] == "%" and r[-1] != "'" else r for r in roots)


def asks_names(node: ast.expr) -> bool:
    """Whether an expression is `globals()`, `locals()`, `vars()` or `dir()`."""
    plain = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args
    return (
        plain
        and isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in ("globals", "locals", "vars", "dir")
    )


def method_role(code: Code, held_as: str, role: str) -> Role:
    """Return how a function found in a class is held when taken from an object (or class) held as `role`."""
    names = {ast.unparse(d) for d in getattr(code.node, "decorator_list", [])}
    if "staticmethod" in names:
        return (code, held_as)
    return (code, "bound" if role == "instance" or "classmethod" in names else held_as)


def member_name(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return under what name a method is kept: a property's setter and deleter apart from its getter."""
    kinds = [d.attr for d in node.decorator_list if isinstance(d, ast.Attribute)]
    found = next((k for k in kinds if k in ("setter", "deleter")), None)
    return f"{node.name}.{found}" if found else node.name


def is_property(node: ast.AST) -> bool:
    """Whether a method is decorated as an attribute that computes."""
    for decorator in getattr(node, "decorator_list", []):
        text = ast.unparse(decorator)
        if text.endswith(("property", ".getter", ".setter")):
            return True
    return False
