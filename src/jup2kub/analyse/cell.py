"""One cell: a walk over its text with imports, and what comes out of it."""

from __future__ import annotations

import ast

from jup2kub.analyse.kernelcalls import KernelCalls
from jup2kub.analyse.magics import MARK
from jup2kub.analyse.record import CERTAIN, Record
from jup2kub.analyse.values import UNKNOWN, Value
from jup2kub.analyse.world import Space


class Cell(KernelCalls):
    """The whole walk."""

    def _do_expr(self, node: ast.Expr) -> None:
        text = node.value.value if isinstance(node.value, ast.Constant) else None
        if isinstance(text, str) and text.startswith(MARK):
            if text[len(MARK) :] in ("timeit", "prun", "memit", "mprun", "lprun"):
                self.rec.effects.add("benchmark")
            self.rec.effects.add("clock")
            return
        super()._do_expr(node)

    def _do_nonlocal(self, node: ast.Nonlocal) -> None:
        self.mutate(frozenset({"^"}), CERTAIN)

    # imports

    def _do_import(self, node: ast.Import) -> None:
        for alias in node.names:
            value = self.import_module(alias.name)
            if alias.asname is None:
                top = alias.name.partition(".")[0]
                value = Value(library=top, type="module") if top != alias.name else value
            self._bind_import(alias.asname or alias.name.partition(".")[0], value)

    def _do_importfrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level and self.space.label:
            base = self.space.label[5:].split(".")
            module = ".".join([*base[: max(0, len(base) - node.level)], *([module] if module else [])])
        if module == "__main__":
            self.rec.stop("it imports the notebook itself")
        if module == "__future__":
            return
        held = self.import_module(module)
        for alias in node.names:
            if alias.name == "*":
                self._star(module)
                continue
            if f"{module}.{alias.name}" in self.world.modules:
                value = self.import_module(f"{module}.{alias.name}")
            else:
                value = self._library_attribute(held, alias.name) if held.library else UNKNOWN
            self._bind_import(alias.asname or alias.name, value)

    def _bind_import(self, name: str, value: Value) -> None:
        self.assign(name, value)
        if not self.scopes:
            self.rec.definitions.add(name)

    def import_module(self, dotted: str) -> Value:
        if dotted == "__main__":
            self.rec.stop("it imports the notebook itself")
        parts = dotted.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if name in self.world.modules:
                self._run_module(name)
        top = parts[0]
        if top not in self.tables.packages:
            self.read("@sys.path")
            self.rec.files(reads=[f"{top}.py", f"{top}/__init__.py", f"*/{top}.py", f"*/{top}/__init__.py"])
        self.use_package(dotted)
        return Value(library=dotted, type="module")

    def _run_module(self, name: str) -> None:
        """Walk a module of the project folder, once; importing it again changes nothing."""
        label = f"@mod:{name}"
        if label in self.world.spaces:
            self.read(label)
            return
        space = Space(label)
        self.world.spaces[label] = space
        for cut in range(1, name.count(".") + 1):
            parent = "@mod:" + ".".join(name.split(".")[:cut])
            self.world.spaces.setdefault(parent, Space(parent))
        try:
            tree = ast.parse(self.world.modules[name])
        except SyntaxError:
            self.rec.stop(f"the module {name} does not parse")
            return
        record = Record()
        walk = type(self)(self.world, space, record)
        walk.bound.add(label)
        walk.block(tree.body)
        self.take(record, {}, {})
        if self.function is None:
            self.define(label)
        else:
            self.change(label)

    def _star(self, module: str) -> None:
        space = self.world.spaces.get(f"@mod:{module}")
        if space is not None:
            for name, value in space.env.items():
                if not name.startswith("_"):
                    self._bind_import(name, value.at(frozenset({space.label})))
            return
        known = self.tables.stars.get(module)
        if known is None:
            resource = f"@star:{module}"
            self.define(resource)
            if resource not in self.space.stars:
                self.space.stars.append(resource)
            return
        for name in known:
            self._bind_import(name, Value(library=f"{module}.{name}"))

    # stores by name

    def object_store(self, node: ast.expr, base: Value, value: Value, attribute: str | None) -> None:
        target = ast.Attribute(value=node, attr=attribute or "*", ctx=ast.Store())
        self._stored(target, base, value)


def last_value(tree: ast.Module, source: str) -> ast.expr | None:
    """Return the expression whose value the cell shows and leaves in `_`; None if there is none."""
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return None
    text = "\n".join(
        line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    )
    if text.rstrip().endswith(";"):
        return None
    value = tree.body[-1].value
    if isinstance(value, ast.Constant) and value.value is None:
        return None
    return value


def surely_something(value: Value, node: ast.expr) -> bool:
    """Whether an expression's value is surely not None."""
    if isinstance(
        node,
        (
            ast.Constant,
            ast.BinOp,
            ast.Compare,
            ast.JoinedStr,
            ast.List,
            ast.Dict,
            ast.Tuple,
            ast.Set,
            ast.ListComp,
            ast.UnaryOp,
        ),
    ):
        return True
    return value.type in ("frame", "ndarray")
