"""Objects that the notebook hands to a library to keep, and what runs when an object dies."""

from __future__ import annotations

import ast

from jup2kub.analyse.arguments import Args
from jup2kub.analyse.expressions import Expressions
from jup2kub.analyse.members import bound_to, code_value, lookup
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.values import ATOM, Code, Value

EVERYWHERE = frozenset({"sys", "builtins", "signal", "IPython"})
"""Packages that every cell uses, named or not: its text is run, shown and printed through them."""
CLEANING = (ast.Try, ast.With, ast.AsyncWith)


class Handed(Expressions):
    """Adds what outlives a call inside a library to a walk."""

    def escape(self, value: Value, others: list[Value], dunders: bool = False) -> None:
        raise NotImplementedError

    def outputs(self, name: str, args: Args) -> None:
        """Note what a call writes into: its `out=`; whatever is given to `pack_into`, `readinto` and the like."""
        out = args.named.get("out")
        for value in args.all if name.endswith("into") else [out] if out is not None else []:
            self.mutate(value.roots, CERTAIN)

    # kept by a library

    def keep(self, place: str, value: Value, instead: bool = False) -> None:
        """Note that a library keeps an object at `place` (dotted), and may use it whenever the library is used.

        Code may run then; any other object may change. `instead`: what was there before is gone.
        """
        kept, label = self.world.callbacks, "&" + place
        if instead and not self.conditional and self.function is None:
            kept.pop(place, None)
            self.sharing.leave(label)
        if value.library is not None or (value.plain and not value.code):
            return
        held = kept.get(place, ATOM)
        kept[place] = Value(held.roots | value.roots, held.code | value.code)
        if not value.code and value.roots:
            self.join({label} | value.roots)

    def given_to_keep(self, dotted: str, value: Value, discarded: bool) -> bool:
        """Whether a library function keeps an argument: by the tables, its name, or because only that can be its use."""
        entry, known = self.tables.function(dotted), self.tables.package(dotted)
        setter = self.tables.setter(dotted)
        if value.code:
            return setter or discarded or self.in_place(dotted) or bool(entry and entry.get("keeps"))
        pure = bool(known and known.get("pure"))  # `nx.set_…(graph)` keeps no graph
        return (setter and not pure) or bool(entry and entry.get("keeps"))

    def feel_kept(self) -> None:
        """Note what the libraries in use may do with what they were given to keep: last of all in a cell."""
        used: set[str] = set(EVERYWHERE)
        for package in self.rec.packages:
            feels = self.tables.feels(package)
            own = any(name.partition(".")[0] == package for name in self.world.modules)
            used |= {package} if own else feels if feels is not None else {package, "*"}
        for place, held in list(self.world.callbacks.items()):
            if place.partition(".")[0] in used or "*" in used:
                self.touch(held)
                self.escape(Value(held.roots, held.code), [])
                self.mutate(frozenset({"&" + place}), SPECULATIVE)

    def change_library(self, package: str) -> None:
        """Note that a package's own state may have changed."""
        if not self._plots(package) or self.world.figures:
            self.mutate(frozenset({"@lib:" + package}), SPECULATIVE)

    def _plots(self, package: str) -> bool:
        known = self.tables.packages.get(package)
        return bool(known and known.get("plots"))

    def in_place(self, dotted: str) -> bool:
        """Whether a function is a method that changes an object of a library (`sys.path_hooks.append`), or a registry of drawings."""
        last = dotted.rpartition(".")[2]
        if self._plots(dotted.partition(".")[0]):
            return last.startswith(("register", "unregister"))
        return dotted.count(".") > 1 and self.tables.method(last) == "mutate"

    # gone

    def died(self, name: str, value: Value) -> None:
        """Note that a name has let go of its object, which may die: generators clean up, `__del__` runs."""
        for code, role in value.code:
            last = lookup(code_value(code, role), "__del__") if role == "instance" else None
            if last is not None:
                self.rec.reads.add(name)
                self.run(bound_to(value, last))
            elif role == "running" and cleans(code):
                self.rec.reads.add(name)
                self.operate(Value(value.roots, frozenset({(code, role)})))

    def mourn(self, name: str) -> None:
        """Note that an object dies that is watched weakly: callbacks run."""
        self.rec.reads.add(name)
        held = self.world.callbacks.get("weakref")
        if held is not None:
            self.escape(held, [])

    def mortal(self, code: Code, made: Value) -> None:
        """Note that an object is made that runs code when it dies: here, if nobody keeps it, or at a collection."""
        last = lookup(code_value(code, "instance"), "__del__")
        if last is not None:
            self.conditional += 1
            self.run(bound_to(made, last))
            self.conditional -= 1
            self.world.mortal.append(code)

    def collect(self) -> None:
        """Note a collection of garbage: objects that only hold each other die."""
        for code in list(self.world.mortal):
            last = lookup(code_value(code, "instance"), "__del__")
            if last is not None:
                self.run(bound_to(Value(), last))


def cleans(code: Code) -> bool:
    """Whether a generator that is given up may do something more: a `finally`, a handler, the end of a `with`."""
    return any(isinstance(n, (*CLEANING, ast.YieldFrom)) for n in ast.walk(code.node))
