"""Comprehensions and loops: what they bind, how often they turn, what work that is."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace

from jup2kub.analyse.base import Walk
from jup2kub.analyse.values import NONE, UNKNOWN, Code, Value, holder, immutable, part

HOLDERS = ("dict", "list", "set", "tuple", "defaultdict", "ndarray", "plot")
"""Types whose methods are known: `plot` stands for the array of axes that `subplots` makes."""
SAME_LENGTH = frozenset({"items", "keys", "values", "copy", "tolist", "ravel", "flatten"})
"""Methods of containers whose result holds as much as the container."""
TRANSPARENT = frozenset({"enumerate", "zip", "reversed", "sorted", "list", "tuple", "set", "tqdm", "trange"})


class Comprehensions(Walk):
    """Adds comprehensions to a walk."""

    def _listcomp(self, node: ast.ListComp) -> Value:
        return self._comprehension("list", node.generators, [node.elt])

    def _setcomp(self, node: ast.SetComp) -> Value:
        return self._comprehension("set", node.generators, [node.elt])

    def _dictcomp(self, node: ast.DictComp) -> Value:
        return self._comprehension("dict", node.generators, [node.key, node.value])

    def _generatorexp(self, node: ast.GeneratorExp) -> Value:
        value = self._comprehension("stateful", node.generators, [node.elt])
        named = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if not any(n in self.space.env and self.space.env[n].type != "module" for n in named):
            return value
        # What it names is looked up when it is gone through, perhaps in a later cell.
        body = ast.copy_location(ast.ListComp(node.elt, node.generators), node)
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        late = ast.copy_location(ast.Lambda(nothing, body), node)
        seen = tuple(s for i, s in enumerate(self.scopes) if i not in self.class_depth)
        code = Code("<genexpr>", late, self.space.label, (*self.outer, *seen))
        return replace(value, code=value.code | {(code, "running")})

    def _comprehension(self, kind: str, generators: list[ast.comprehension], parts: list[ast.expr]) -> Value:
        first = self.consume(generators[0].iter)
        self.scopes.append({})
        factor = self.factor
        self.conditional += 1
        self.looping += 1
        for place, generator in enumerate(generators):
            element = first if place == 0 else self.consume(generator.iter)
            self.factor *= self.length(generator.iter)
            self._bind_local(generator.target, element)
            for test in generator.ifs:
                self.expr(test)
        made = [self.passive(p) for p in parts]
        self.looping -= 1
        self.conditional -= 1
        self.spend(0.0)
        self.factor = factor
        self.scopes.pop()
        value = holder(kind, [*made[-1:], *(key for key in made[:-1] if key.roots and not key.plain)])
        full = len(generators) == 1 and not generators[0].ifs and self.turns(generators[0].iter)
        keyed = kind == "dict" and immutable(made[0])
        plain = Value(
            value.roots, value.code, None, value.packages, kind, value.atoms, full=full, keyed=keyed
        )
        return (
            Value(first.roots | value.roots, value.code, None, value.packages, kind, value.atoms, moves=NONE)
            if kind == "stateful"
            else plain
        )

    def _bind_local(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.scopes[-1][target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            for place, element in enumerate(target.elts):
                whole = value.items is not None and len(value.items) == len(target.elts)
                inner = value.items[place] if whole and value.items else part(value)
                self._bind_local(element.value if isinstance(element, ast.Starred) else element, inner)
        else:
            self.expr(target)

    # work

    def length(self, iterable: ast.expr) -> float:
        """Return how often a loop over `iterable` is presumed to turn."""
        if (
            isinstance(iterable, ast.Call)
            and isinstance(iterable.func, ast.Name)
            and iterable.func.id == "range"
        ):
            numbers = [self.passive(a).text for a in iterable.args]
            values = [int(t) for t in numbers if t is not None and t.lstrip("-").isdigit()]
            if len(values) == len(numbers) and values:
                low, high = (0, values[0]) if len(values) == 1 else values[:2]
                step = abs(values[2]) if len(values) > 2 and values[2] else 1
                return float(max(1, abs(high - low) // step))
            return 1000.0
        if isinstance(iterable, (ast.List, ast.Tuple, ast.Set)):
            return float(max(1, len(iterable.elts)))
        return 30.0

    def turns(self, iterable: ast.expr) -> bool:
        """Whether a loop over `iterable` surely turns at least once."""
        if isinstance(iterable, ast.Constant):
            return bool(iterable.value)
        if isinstance(iterable, (ast.List, ast.Tuple, ast.Set)):
            return any(not isinstance(e, ast.Starred) for e in iterable.elts)
        if isinstance(iterable, ast.Name):
            return self.peek(iterable.id).full
        if isinstance(iterable, ast.Dict):
            return any(key is not None for key in iterable.keys)
        if isinstance(iterable, ast.Attribute):
            return (
                iterable.attr == "flat"
                and self._builtin_holder(iterable.value)
                and self.turns(iterable.value)
            )
        if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Attribute):
            base, name = iterable.func.value, iterable.func.attr
            if isinstance(base, ast.Name) and self.peek(base.id).library == "numpy":
                return self._numpy_turns(name, iterable)
            return name in SAME_LENGTH and self._builtin_holder(base) and self.turns(base)
        if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Name):
            name = iterable.func.id
            if name == "range":
                return self._range_turns(iterable)
            if name in TRANSPARENT and iterable.args:
                return all(self.turns(a) for a in (iterable.args if name == "zip" else iterable.args[:1]))
        return False

    def _builtin_holder(self, node: ast.expr) -> bool:
        """Whether an expression is a display, or a variable that holds a built-in container or an array."""
        if isinstance(node, ast.Name):
            return self.peek(node.id).type in HOLDERS
        return isinstance(node, (ast.Dict, ast.List, ast.Tuple, ast.Set))

    def filled(self, name: str, values: list[Value], named: Mapping[str, Value]) -> bool:
        """Whether the array that a function of numpy makes surely has elements."""
        texts = [v.text if (v.text or "").isdigit() else None for v in values]
        if name in ("linspace", "logspace", "geomspace"):
            count = values[2] if len(values) > 2 else named.get("num")
            return count is None or (count.text or "").strip("0").isdigit()
        if name == "arange":
            numbers = [int(t) for t in texts if t is not None]
            return 0 < len(numbers) == len(texts) < 3 and len(range(*numbers)) > 0
        if name in ("zeros", "ones", "full", "eye", "identity", "empty"):
            return bool(texts) and texts[0] is not None and int(texts[0]) > 0
        return name in ("array", "asarray") and bool(values) and values[0].full

    def _numpy_turns(self, name: str, node: ast.Call) -> bool:
        """Whether the array that a call `np.name(…)` in a loop's head makes surely has elements."""
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            return False
        values = [self._glance(a) for a in node.args]
        return self.filled(name, values, {k.arg or "": self._glance(k.value) for k in node.keywords})

    def _glance(self, node: ast.expr) -> Value:
        """Return what is known of an expression without evaluating it."""
        if isinstance(node, ast.Name):
            return self.peek(node.id)
        text = str(node.value) if isinstance(node, ast.Constant) else None
        return Value(text=text, full=self.turns(node))

    def _range_turns(self, node: ast.Call) -> bool:
        texts = [self.peek(a.id).text if isinstance(a, ast.Name) else ast.unparse(a) for a in node.args]
        if not all(t is not None and t.lstrip("-").isdigit() for t in texts):
            return False
        return (
            len(range(*(int(t or 0) for t in texts))) > 0
            if 0 < len(texts) < 4 and texts[2:] != ["0"]
            else False
        )

    def peek(self, name: str) -> Value:
        """Return the value of a variable without reading it."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return UNKNOWN if self.function is not None else self.space.env.get(name, UNKNOWN)

    def spend(self, seconds: float) -> None:
        """Add presumed work of one statement or call, times the loops around it."""
        self.rec.weight += (seconds + 2e-7) * self.factor
        if self.factor > 1:
            self.rec.loops = self.rec.loops or self.factor >= 1000 or seconds > 0
