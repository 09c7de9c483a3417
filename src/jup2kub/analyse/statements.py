"""Statements: which names they bind, on which paths."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from jup2kub.analyse.calls import Calls
from jup2kub.analyse.members import asks_names
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.values import ATOM, Code, Value, held, holder, part, union

CATCHES_NAMES = frozenset({"NameError", "Exception", "BaseException", "UnboundLocalError"})


class Statements(Calls):
    """Adds statements to a walk."""

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            if not self.dead:
                self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        handler: Callable[[ast.stmt], None] | None = getattr(self, "_do_" + type(node).__name__.lower(), None)
        self.spend(0.0)
        if handler is not None:
            handler(node)

    def _do_expr(self, node: ast.Expr) -> None:
        self.discarding = node.value
        self.passive(node.value) if isinstance(node.value, ast.Name) else self.expr(node.value)
        self.discarding = None

    def _do_assign(self, node: ast.Assign) -> None:
        value = self.passive(node.value)
        for target in node.targets:
            self.bind(target, value, node.value)

    def _do_annassign(self, node: ast.AnnAssign) -> None:
        self.expr(node.annotation) if not self.scopes or self.class_depth else None
        if node.value is not None:
            self.bind(node.target, self.passive(node.value), node.value)

    def _do_augassign(self, node: ast.AugAssign) -> None:
        value = self.expr(node.value)
        self.operate(value)
        if isinstance(node.target, ast.Name):
            old = self.load(node.target.id)
            self.operate(old)
            if not old.atom and old.type != "tuple":
                self.mutate(old.roots, CERTAIN if old.type else SPECULATIVE)
                if isinstance(node.op, (ast.Add, ast.BitOr)) and old.type not in ("ndarray", "frame"):
                    self.store(old, *([] if value.atoms else [value]))
            kept = old if not old.atom else self._sum(old, value)
            label = frozenset({node.target.id})
            self._rebind(node.target.id, kept, label)
            return
        base = self._store_base(node.target)
        self.load_target(node.target)
        self._stored(node.target, base, value)

    def _sum(self, old: Value, value: Value) -> Value:
        both = old.type == "atom" and value.type == "atom"
        return Value(type="atom" if both else value.type, packages=old.packages | value.packages)

    def _rebind(self, name: str, value: Value, label: frozenset[str]) -> None:
        """Bind a name to the object it has, changed: its sharing stays."""
        if not self.scopes and self.function is None and not self.space.label:
            self.rec.assigned.add(name)
            if self.conditional:
                self.read(name)
            self.bound.add(name)
            self.space.env[name] = Value(
                value.roots - label, value.code, None, value.packages, value.type, value.atoms and value.atom
            )
            return
        self.assign(name, Value(value.roots, value.code, None, value.packages, value.type))

    def load_target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Subscript):
            self.expr(node.slice)

    def _do_delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.delete(target.id)
            elif isinstance(target, (ast.Attribute, ast.Subscript)):
                self.load_target(target)
                self._stored(target, self._store_base(target), ATOM)
            elif isinstance(target, (ast.Tuple, ast.List)):
                self._do_delete(ast.Delete(targets=target.elts))

    def bind(self, target: ast.expr, value: Value, source: ast.expr | None = None) -> None:
        """Bind or store `value` to a target of an assignment, loop, `with` or pattern."""
        if isinstance(target, ast.Name):
            self.assign(target.id, value)
            if self._is_definition(value):
                self.rec.definitions.add(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target, value)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, holder("list", [part(value)]))
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            self.load_target(target)
            if not self._global_store(target, value):
                self._stored(target, self._store_base(target), value)

    def _is_definition(self, value: Value) -> bool:
        own = (
            value.code
            and all(role == "self" for _, role in value.code)
            and value.type in ("function", "definition")
        )
        return not self.scopes and (bool(own) or value.type in ("definition", "module"))

    def _global_store(self, target: ast.expr, value: Value) -> bool:
        """Handle `globals()['x'] = …`."""
        if not isinstance(target, ast.Subscript) or not asks_names(target.value) or not self.sees_globals():
            return False
        if not isinstance(target.slice, ast.Constant) or not isinstance(target.slice.value, str):
            self.expr(target.slice)
            self.rec.stop("it binds names through globals() that the text does not tell")
            return True
        held, self.scopes = self.scopes, []
        self.assign(target.slice.value, value)
        self.scopes = held
        return True

    def _store_base(self, target: ast.expr) -> Value:
        assert isinstance(target, (ast.Attribute, ast.Subscript))
        return self.passive(target.value)

    def _stored(self, target: ast.expr, base: Value, value: Value) -> None:
        """Note an attribute or item store into `base`."""
        self._store_effects(target, base, value)
        self.operate(base)
        if base.atom:
            return
        if base.type == "handle":
            self.use_up(base)
        if isinstance(target, ast.Attribute):
            for code, role in base.code:
                if role == "self" and isinstance(code.node, ast.ClassDef):
                    old = code.methods.get(target.attr)
                    code.methods[target.attr] = union(old, value) if old is not None else value
        self.mutate(base.roots, CERTAIN)
        for code, role in base.code:
            self._class_changed(code, role)
        keeps = base.type not in ("ndarray", "frame") or isinstance(target, ast.Attribute)
        if not value.atom and keeps:
            self.store(base, value)
        self.enrich(target, value)

    def _class_changed(self, code: Code, role: str) -> None:
        """A store into a class reached through an object (`type(self).n`) changes the class under its name."""
        env = self.world.space(code.space).env
        if role == "self" and code.name in env and any(c is code for c, _ in env[code.name].code):
            self.mutate(frozenset({code.space or code.name}), CERTAIN)

    def _store_effects(self, target: ast.expr, base: Value, value: Value) -> None:
        if base.library is not None:
            self.keep(base.library.partition(".")[0], value)
            entry = self.tables.function(base.library)
            if entry and "resource" in entry:
                self.change(entry["resource"])
            elif f"@mod:{base.library}" in self.world.spaces:
                self.change(f"@mod:{base.library}")
            elif base.library.startswith("builtins."):
                self.change("@lib:builtins")
            else:
                attribute = (
                    f"{base.library}.{target.attr}" if isinstance(target, ast.Attribute) else base.library
                )
                found = self.tables.function(attribute)
                self.change(
                    found["resource"]
                    if found and "resource" in found
                    else "@lib:" + base.library.partition(".")[0]
                )
        elif base.type == "shared":
            for package in base.packages:
                self.change("@lib:" + package)

    def _unpack(self, target: ast.Tuple | ast.List, value: Value) -> None:
        if value.code or value.type in ("stateful", "handle"):
            self.element(value)
        starred = [i for i, e in enumerate(target.elts) if isinstance(e, ast.Starred)]
        if value.items is not None and not starred and len(value.items) == len(target.elts):
            for element, item in zip(target.elts, value.items, strict=True):
                self.bind(element, held(item, value))
            return
        whole = part(value)
        if not whole.atom and not whole.roots and not (value.packages and self._independent(value)):
            self.world.current += 1
            whole = whole.at(frozenset({f"!{self.world.current}"}))
        if value.mode == "tee":
            whole = replace(whole, type="stateful")
        for element in target.elts:
            self.bind(element, whole)

    def _independent(self, value: Value) -> bool:
        """Whether the parts of a library's result share nothing."""
        known = [self.tables.packages.get(p) for p in value.packages]
        return value.type != "plot" and all(
            k is not None and k.get("pure") and not k.get("shares") for k in known
        )

    # flow

    def _branch(
        self, body: list[ast.stmt], start: set[str], bind: Callable[[], None] | None = None
    ) -> tuple[set[str], bool]:
        self.bound, self.dead = set(start), False
        self.conditional += 1
        if bind is not None:
            bind()
        self.block(body)
        self.conditional -= 1
        return self.bound, self.dead

    def _merge(self, ends: list[tuple[set[str], bool]]) -> None:
        alive = [b for b, dead in ends if not dead]
        self.dead = not alive
        self.bound = set.intersection(*alive) if alive else set.union(*(b for b, _ in ends))

    def _do_if(self, node: ast.If) -> None:
        if constant_true(node.test):
            self.expr(node.test)
            self.block(node.body)
            return
        self.expr(node.test)
        start = set(self.bound)
        self._merge([self._branch(node.body, start), self._branch(node.orelse, start)])

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        element = self.consume(node.iter)
        times = self.length(node.iter)
        if self.turns(node.iter):
            self._first_turn(node, element)
        self._loop(node.body, node.orelse, times, lambda: self.bind(node.target, element))

    def _first_turn(self, node: ast.For | ast.AsyncFor, element: Value) -> None:
        """Walk the first turn of a loop that surely turns, up to where it may be left: it always runs."""
        weight, loops = self.rec.weight, self.rec.loops
        self.bind(node.target, element)
        for statement in node.body:
            if any(
                isinstance(n, (ast.Break, ast.Continue, ast.Return, ast.Raise)) for n in ast.walk(statement)
            ):
                break
            self.statement(statement)
        self.rec.weight, self.rec.loops = weight, loops

    def _do_asyncfor(self, node: ast.AsyncFor) -> None:
        self._do_for(node)

    def _do_while(self, node: ast.While) -> None:
        self.expr(node.test)
        self._loop(node.body, node.orelse, 1000.0, lambda: self._test(node))
        if constant_true(node.test) and not any(isinstance(n, ast.Break) for n in ast.walk(node)):
            self.dead = True

    def _test(self, node: ast.While) -> None:
        self.expr(node.test)

    def _loop(
        self, body: list[ast.stmt], orelse: list[ast.stmt], times: float, bind: Callable[[], None]
    ) -> None:
        start, factor = set(self.bound), self.factor
        self.factor *= times
        self.looping += 1
        if self.looping == 1:
            weight = self.rec.weight
            self._branch(body, start, bind)
            self.rec.weight = weight
        self._branch(body, start, bind)
        self.looping -= 1
        self.factor = factor
        self.bound, self.dead = start, False
        if orelse:
            self.conditional += 1
            self.block(orelse)
            self.conditional -= 1
            self.bound, self.dead = start, False

    def _do_try(self, node: ast.Try) -> None:
        guards = any(catches(h) for h in node.handlers)
        start = set(self.bound)
        self.guards += guards
        if node.handlers:
            self.conditional += 1
        self.block(node.body)
        self.block(node.orelse)
        if node.handlers:
            self.conditional -= 1
        self.guards -= guards
        ends = [(self.bound, self.dead)]
        for handler in node.handlers:
            ends.append(self._branch(handler.body, start, lambda h=handler: self._handler(h)))  # type: ignore[misc]
        self._merge(ends)
        if node.finalbody:
            dead, self.dead = self.dead, False
            self.block(node.finalbody)
            self.dead = self.dead or dead

    def _do_trystar(self, node: ast.Try) -> None:
        self._do_try(node)

    def _handler(self, handler: ast.ExceptHandler) -> None:
        self.expr(handler.type)
        if handler.name:
            self.assign(handler.name, Value())

    def _do_with(self, node: ast.With | ast.AsyncWith) -> None:
        swallows = False
        for item in node.items:
            value = self.passive(item.context_expr)
            entered = self.enter(value)
            swallows = swallows or self.suppresses(item.context_expr, value)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, entered)
        if swallows:
            start = set(self.bound)
            self.guards += 1
            self._branch(node.body, start)
            self.guards -= 1
            self.bound, self.dead = start, False
        else:
            self.block(node.body)

    def _do_asyncwith(self, node: ast.AsyncWith) -> None:
        self._do_with(node)

    def enter(self, value: Value) -> Value:
        if value.type in ("stateful", "handle"):
            self.use_up(value)
        result = [value]
        if value.code:
            self.operate(value)
            found = [self.run_method(value, name) for name in ("__enter__", "__aenter__")]
            result = [f for f in found if f is not None] or [
                Value(value.roots, value.code, None, value.packages)
            ]
        return union(*result)

    def _do_match(self, node: ast.Match) -> None:
        subject = self.expr(node.subject)
        start = set(self.bound)
        ends, total = [], False
        for case in node.cases:
            total = total or (
                case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
            )
            ends.append(self._branch(case.body, start, lambda c=case: self._case(c, subject)))  # type: ignore[misc]
        self._merge(ends if total else [*ends, (start, False)])

    def _case(self, case: ast.match_case, subject: Value) -> None:
        for node in ast.walk(case.pattern):
            name = getattr(node, "name", None) or getattr(node, "rest", None)
            if isinstance(node, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)) and name:
                self.assign(name, part(subject))
            elif isinstance(node, ast.expr) and not isinstance(node, ast.Constant):
                self.expr(node) if isinstance(node, (ast.Name, ast.Attribute)) else None
        if case.guard is not None:
            self.expr(case.guard)

    def _do_return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.returned.append(self.passive(node.value))
        self.exits.append(set(self.bound))
        self.dead = True

    def _do_raise(self, node: ast.Raise) -> None:
        self.expr(node.exc)
        self.expr(node.cause)
        self.dead = True

    def _do_break(self, node: ast.Break) -> None:
        self.dead = True

    def _do_continue(self, node: ast.Continue) -> None:
        self.dead = True

    def _do_assert(self, node: ast.Assert) -> None:
        self.expr(node.test)
        self.expr(node.msg)

    def _do_typealias(self, node: ast.stmt) -> None:
        name = getattr(node, "name", None)
        if isinstance(name, ast.Name):
            self.assign(name.id, Value(type="definition"))
            self.rec.definitions.add(name.id)


def constant_true(test: ast.expr) -> bool:
    """Whether a condition always holds in a notebook."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    return ast.dump(test) == _MAIN


_MAIN = ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)


def catches(handler: ast.ExceptHandler) -> bool:
    """Whether a handler would swallow a NameError."""
    if handler.type is None:
        return True
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
    return bool(names & CATCHES_NAMES) or not names
