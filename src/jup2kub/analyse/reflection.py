"""Calls that look at names: globals(), exec, eval, setattr and the like."""

from __future__ import annotations

import ast

from jup2kub.analyse.library import Libraries
from jup2kub.analyse.values import ATOM, UNKNOWN, Value

REFLECTIVE = frozenset(
    {
        "globals",
        "locals",
        "vars",
        "dir",
        "exec",
        "eval",
        "compile",
        "input",
        "breakpoint",
        "__import__",
        "setattr",
        "delattr",
    }
)


class Reflection(Libraries):
    """Adds calls that look at names to a walk."""

    def _special(self, node: ast.Call) -> Value | None:
        if isinstance(node.func, ast.Name) and node.func.id in REFLECTIVE:
            value = self.load(node.func.id)
            if value.library == "builtins." + node.func.id:
                return self._reflective(node.func.id, node)
        if isinstance(node.func, ast.Attribute):
            return self._names_method(node, node.func)
        return None

    def _names_method(self, node: ast.Call, func: ast.Attribute) -> Value | None:
        """Handle `globals().get('x')` and methods of `get_ipython()`."""
        inner = func.value
        if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Name):
            return None
        if inner.func.id in ("globals", "locals") and not inner.args and func.attr in ("get", "__contains__"):
            name = constant(node.args[0]) if node.args else None
            if name is not None and self._plain(inner.func.id):
                for other in node.args[1:]:
                    self.expr(other)
                return self.maybe_name(name)
        if inner.func.id == "get_ipython":
            return self.kernel_call(node, func.attr)
        return None

    def _plain(self, name: str) -> bool:
        return self.load(name).library == "builtins." + name and (name == "globals" or not self.scopes)

    def maybe_name(self, name: str) -> Value:
        """Return the value of a global that may be absent."""
        if name in self.space.env or self.space.label:
            return self.load_global(name)
        self.rec.guarded.add(name)
        return ATOM

    def _reflective(self, name: str, node: ast.Call) -> Value | None:
        if name in ("exec", "eval"):
            return self._execute(name, node)
        if name in ("vars", "dir") and node.args:
            return self.passive(node.args[0]) if name == "vars" else Value(type="list", atoms=True)
        if name in ("locals", "vars", "dir") and self.scopes:
            return UNKNOWN
        if name in ("globals", "locals", "vars"):
            self.rec.stop("it reaches names through globals() that the text does not tell")
            return UNKNOWN
        if name == "dir":
            self.rec.stop("it lists the names that exist")
            return Value(type="list", atoms=True)
        if name == "input" or name == "breakpoint":
            self.rec.effects.add("input")
            self.rec.stop("it waits for somebody at the keyboard")
            return ATOM
        if name == "__import__":
            text = constant(node.args[0]) if node.args else None
            return self.import_module(text) if text else UNKNOWN
        if name in ("setattr", "delattr") and len(node.args) > 1:
            base, values = self.passive(node.args[0]), [self.passive(a) for a in node.args[1:]]
            self.object_store(node.args[0], base, values[-1], constant(node.args[1]))
            return ATOM
        return None

    def object_store(self, node: ast.expr, base: Value, value: Value, attribute: str | None) -> None:
        raise NotImplementedError

    def import_module(self, dotted: str) -> Value:
        raise NotImplementedError

    def kernel_call(self, node: ast.Call, name: str) -> Value | None:
        raise NotImplementedError

    def _execute(self, name: str, node: ast.Call) -> Value:
        value = self.passive(node.args[0]) if node.args else UNKNOWN
        literal = constant(node.args[0]) if node.args else None
        if len(node.args) > 1 or node.keywords or literal is None or (name == "exec" and self.scopes):
            for argument in node.args[1:]:
                self.passive(argument)
            self.rec.stop(f"it runs code from a text through {name}()")
            return value
        try:
            if name == "eval":
                return self.expr(ast.parse(literal.strip(), mode="eval").body)
            self.block(ast.parse(literal).body)
        except SyntaxError:
            self.rec.stop(f"it runs code from a text through {name}()")
        return ATOM


def constant(node: ast.expr) -> str | None:
    """Return the text of a string literal."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
