"""Going through values: what is given out, and which iterators are used up by it."""

from __future__ import annotations

import ast

from jup2kub.analyse import paths
from jup2kub.analyse.comprehensions import Comprehensions
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.values import ATOM, Value, part


class Iteration(Comprehensions):
    """Adds iteration to a walk."""

    def consume(self, node: ast.expr) -> Value:
        """Return an element of what is iterated over; iterators are used up."""
        value = self.passive(node)
        return self.element(value)

    def element(self, value: Value) -> Value:
        self.operate(value)
        self.drain(value)
        if value.library:
            return Value(packages=value.packages | {value.library.partition(".")[0]}, roots=value.roots)
        return ATOM if value.keyed else part(value)

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
