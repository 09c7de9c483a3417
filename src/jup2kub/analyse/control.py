"""Control flow: which statements always run, and what they bind on every path."""

from __future__ import annotations

import ast
from collections.abc import Callable

from jup2kub.analyse.statements import Statements
from jup2kub.analyse.values import Value, part, union

CATCHES_NAMES = frozenset({"NameError", "Exception", "BaseException", "UnboundLocalError"})


class Control(Statements):
    """Adds branches, loops, handlers and exits to a walk."""

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
        self.operate(self.expr(node.test))
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
        self._test(node)
        self._loop(node.body, node.orelse, 1000.0, lambda: self._test(node))
        if constant_true(node.test) and not any(isinstance(n, ast.Break) for n in ast.walk(node)):
            self.dead = True

    def _test(self, node: ast.While | ast.Assert) -> None:
        self.operate(self.expr(node.test))

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
        self.drain(value)
        result = [value]
        self.operate(value)
        if value.code:
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
        self._test(node)
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
