"""Going through values: what is given out, and which iterators are used up by it."""

from __future__ import annotations

import ast
from dataclasses import replace

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.comprehensions import Comprehensions
from jup2kub.analyse.record import CERTAIN, SPECULATIVE, Record
from jup2kub.analyse.values import ATOM, Code, Role, Value, part
from jup2kub.analyse.world import Kinds


class Iteration(Comprehensions):
    """Adds iteration to a walk."""

    def summary(self, code: Code, kinds: Kinds = ()) -> Record:
        raise NotImplementedError

    def consume(self, node: ast.expr) -> Value:
        """Return an element of what is iterated over; iterators are used up."""
        value = self.passive(node)
        return self.element(value)

    def element(self, value: Value) -> Value:
        self.operate(value)
        self.drain(value)
        if value.library:
            return Value(packages=value.packages | {value.library.partition(".")[0]}, roots=value.roots)
        return ATOM if value.keyed else part(self.given_out(value))

    def given_out(self, value: Value) -> Value:
        """Return what going through a value is done on: of a notebook's generator, what it yields, not its body."""
        running = frozenset(r for r in value.code if r[1] == "running" and _yields(r[0]))
        if value.type != "stateful" or not running:
            return value
        yielded = frozenset().union(*(self.summary(c).returns.code for c, _ in running if c.generator))
        return replace(value, code=(value.code - running) | yielded)

    def code_in(self, kind: str | None, args: Args) -> frozenset[Role]:
        """Return the code that the result of a library function holds: containers hold what generators have yielded."""
        full = kind in ("dict", "list", "defaultdict", "ndarray", "frame")
        return frozenset().union(*(self.given_out(v).code for v in args.all)) if full else args.code

    def drain(self, value: Value) -> None:
        """Note that somebody goes through a value: if it is an iterator that uses it up."""
        if value.type in ("stateful", "handle"):
            self.use_up(value)
        elif value.type is None and not value.library:
            if value.streams:
                self.mutate(value.roots, SPECULATIVE)
            if self.function is not None:
                self.rec.drained |= {r for r in value.roots if r[0] == "%"}

    def use_up(self, value: Value) -> None:
        """Note that an iterator, handle or generator moves on."""
        moved = value.roots if value.moves is None else value.moves
        self.mutate(moved, CERTAIN if len(moved) == 1 else SPECULATIVE)
        if value.type == "handle" and value.text:
            self.rec.files(reads=[value.text], writes=[value.text] if paths.writing(value.mode) else [])


def _yields(code: Code) -> bool:
    """Whether a function is a generator, or stands for a generator expression, whose value holds its elements' code."""
    return code.generator or isinstance(code.node, ast.Lambda)
