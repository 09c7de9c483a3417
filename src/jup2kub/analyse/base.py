"""Names and labels of one walk: how a variable is read, bound, changed and joined with another."""

from __future__ import annotations

import ast
import builtins
from dataclasses import replace

from jup2kub.analyse.nested import TABLES, column
from jup2kub.analyse.record import CERTAIN, CONDITIONAL, SPECULATIVE, Record
from jup2kub.analyse.values import ABSENT, ATOM, NONE, UNKNOWN, Code, Names, Value, union
from jup2kub.analyse.world import Sharing, Space, World

BUILTINS = frozenset(dir(builtins)) | {"__file__"}
KERNEL = frozenset({"display", "get_ipython", "In", "Out", "_ih", "_oh", "_dh", "exit", "quit", "open"})


class Walk:
    """One walk over a cell or a function's body. The parts that follow build on each other (see `cell.Cell`)."""

    def __init__(self, world: World, space: Space, record: Record, function: Code | None = None) -> None:
        self.world = world
        self.tables = world.tables
        self.space = space
        self.rec = record
        self.function = function
        self.scopes: list[dict[str, Value]] = []
        """Local variables, innermost last; empty at the top level of a cell or module."""
        self.local_names: Names = NONE
        self.outer: tuple[dict[str, Value], ...] = ()
        self.global_names: Names = NONE
        self.class_depth: list[int] = []
        self.bound: set[str] = set()
        self.dead = False
        self.conditional = 0
        self.guards = 0
        self.looping = 0
        self.factor = 1.0
        self.returned: list[Value] = []
        self.exits: list[set[str]] = []
        self.sharing = Sharing() if function is not None else world.sharing

    def expr(self, node: ast.expr | None) -> Value:
        raise NotImplementedError

    def passive(self, node: ast.expr | None) -> Value:
        raise NotImplementedError

    def block(self, body: list[ast.stmt]) -> None:
        raise NotImplementedError

    def consume(self, node: ast.expr) -> Value:
        raise NotImplementedError

    def touch(self, value: Value) -> None:
        raise NotImplementedError

    def maybe_name(self, name: str) -> Value:
        raise NotImplementedError

    def read_classes(self, value: Value) -> None:
        raise NotImplementedError

    def operate(self, value: Value) -> None:
        raise NotImplementedError

    def run(self, value: Value, args: list[Value] | None = None) -> Value:
        raise NotImplementedError

    def define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Value:
        raise NotImplementedError

    def call(self, node: ast.Call) -> Value:
        raise NotImplementedError

    def died(self, name: str, value: Value) -> None:
        raise NotImplementedError

    def mourn(self, name: str) -> None:
        raise NotImplementedError

    # reading

    def read(self, label: str) -> None:
        """Note that the version of a global or resource from before the cell is needed."""
        if label not in self.bound and not label.startswith(("!", "~", "&")):
            self.rec.reads.add(label)
            if self.guards:
                self.rec.guarded.add(label)

    def load(self, name: str) -> Value:
        if name not in self.global_names:
            for scope in reversed(self.scopes):
                if name in scope:
                    return scope[name]
            if name in self.local_names:
                return UNKNOWN
            for scope in reversed(self.outer):
                if name in scope:
                    return self._captured(scope[name])
        return self.load_global(name)

    def _captured(self, value: Value) -> Value:
        kept = frozenset(r for r in value.roots if r[0] not in "%~^")
        return value.at(kept | {"^"})

    def load_global(self, name: str) -> Value:
        value = self.space.env.get(name)
        self.rec.deps[(self.space.label, name)] = value
        if self.space.label:
            self.read(self.space.label)
            if value is None:
                return (
                    Value(library=f"builtins.{name}")
                    if name in BUILTINS
                    else UNKNOWN.at(frozenset({self.space.label}))
                )
            return value.at(frozenset({self.space.label}))
        if value is None and self.function is not None and name in self.rec.exports:
            return self.rec.exports[name].at(frozenset({name}))
        if value is None:
            return self._undefined(name)
        for star in self.space.stars:
            self.read(star)
        self.read(name)
        if name in BUILTINS and name not in self.bound:
            self.rec.guarded.add(name)
        return value.at(frozenset({name}))

    def _undefined(self, name: str) -> Value:
        for star in self.space.stars:
            self.read(star)
        if name in KERNEL or name in BUILTINS:
            history = self.history(name)
            return history if history is not None else Value(library="builtins." + name)
        history = self.history(name)
        if history is not None:
            return history
        if name.startswith("__") and name.endswith("__"):
            return ATOM
        self.read(name)
        if name not in self.bound:
            self.rec.unresolved.add(name)
        return UNKNOWN.at(frozenset({name}))

    def history(self, name: str) -> Value | None:
        """Return what `_`, `__`, `_3`, `Out` stand for, or None if `name` is none of them."""
        if name in ("_", "__", "___"):
            return self._recent(len(name))
        if name in ("Out", "_oh"):
            return Value(library="builtins.Out", roots=self._outs([c for c, _, _ in self.world.outs]))
        if name in ("In", "_ih", "_i", "_ii", "_iii", "_dh"):
            self.rec.unresolved.add(name)
            return Value(type="list", atoms=True)
        if name[0] == "_" and name[1:].isdigit():
            return self.numbered(int(name[1:]))
        return ATOM if name[:2] == "_i" and name[2:].isdigit() else None

    def numbered(self, count: int) -> Value:
        cell = self.world.counts.get(count)
        found = [v for c, _, v in self.world.outs if c == cell]
        if not found or cell is None:
            return UNKNOWN
        return found[-1].at(self._outs([cell]) | found[-1].roots)

    def _recent(self, depth: int) -> Value:
        cells: list[int] = []
        value: list[Value] = []
        sure = 0
        for cell, surely, made in reversed(self.world.outs):
            cells.append(cell)
            value.append(made)
            sure += surely
            if sure == depth:
                break
        return union(*value).at(self._outs(cells) | union(*value).roots) if value else ATOM

    def _outs(self, cells: list[int]) -> Names:
        labels = frozenset(f"@out:{c}" for c in cells)
        for label in labels:
            self.read(label)
        return labels

    # binding

    def assign(self, name: str, value: Value) -> None:
        if self.scopes and name not in self.global_names:
            self._assign_local(self.scopes[-1] if not self._comprehending() else self.scopes[0], name, value)
            return
        if self.space.label:
            self._assign_module(name, value)
            return
        self.rec.assigned.add(name)
        self.rec.deleted.discard(name)
        if self.conditional:
            self.read(name)
        self.bound.add(name)
        if self.function is not None:
            old = self.rec.exports.get(name)
            self.rec.exports[name] = union(old, value) if old else value
            if value.roots:
                self.join({name} | value.roots)
            return
        self._assign_cell(name, value)

    def _assign_cell(self, name: str, value: Value) -> None:
        env = self.space.env
        if self.conditional and name in env:
            value = union(env[name], value)
        elif name not in value.roots or value.atom:
            self.lose(name)
        env[name] = value
        if not value.atom and value.roots - {name}:
            self.join({name} | value.roots)

    def _assign_module(self, name: str, value: Value) -> None:
        old = self.space.env.get(name)
        self.space.env[name] = union(old, value) if old is not None and self.conditional else value
        if self.function is not None:
            self.mutate(frozenset({self.space.label}), CERTAIN)

    def _comprehending(self) -> bool:
        return len(self.scopes) > 1 and len(self.scopes) - 1 not in self.class_depth

    def _assign_local(self, scope: dict[str, Value], name: str, value: Value) -> None:
        if not value.atom and not value.roots:
            value = value.at(frozenset({f"~{name}{id(scope) % 9973}"}))
        old = scope.get(name)
        scope[name] = union(old, value) if old is not None and (self.conditional or self.looping) else value

    def delete(self, name: str) -> None:
        if self.scopes and name not in self.global_names:
            return
        self.read(name)
        self.rec.assigned.add(name)
        self.bound.add(name)
        if not self.conditional:
            self.rec.deleted.add(name)
            self.lose(name)
            if self.function is None:
                self.space.env[name] = ABSENT

    def lose(self, name: str) -> None:
        """A name lets go of its object, which may die: who watches it weakly sees that, and `__del__` runs."""
        env = self.space.env
        others = frozenset(self.sharing.of(name) - {name})
        watchers = {p for o in others if o in env for p in env[o].packages if self.watches(p)}
        if watchers or name in self.world.watched:
            self.mutate(others, SPECULATIVE)
            self.mourn(name)
        self.world.watched.discard(name)
        self.sharing.leave(name)
        if name in env:
            self.died(name, env[name])

    def watches(self, package: str) -> bool:
        """Whether the package holds objects without keeping them alive."""
        known = self.tables.packages.get(package)
        return bool(known and known.get("watches"))

    # changing

    def mutate(self, labels: Names, strength: int) -> None:
        """Note that what is known under `labels` changes in place, and so all that may share it."""
        strong = CONDITIONAL if self.conditional else strength
        weak = CONDITIONAL if self.conditional else min(strength, SPECULATIVE)
        for label in self.sharing.expand(labels):
            self.rec_mark(label, strong if label in labels and len(labels) == 1 else weak)

    def rec_mark(self, label: str, strength: int) -> None:
        for scope in self.scopes:
            for name, value in scope.items():
                if value.known_inside and label in value.roots:
                    scope[name] = value.loose()
        if label[0] in "!~&":
            return
        if self.function is None:
            self._loosen(label)
            if label in self.bound and (label in self.rec.assigned or label[0] == "@"):
                return
            self.read(label)
        elif label[0] not in "%^":
            self.read(label)
        self.rec.mark(label, strength)

    def _loosen(self, label: str) -> None:
        value = self.space.env.get(label)
        if value is not None and value.known_inside:
            self.space.env[label] = value.loose()

    def join(self, labels: set[str] | Names) -> None:
        """Note that `labels` may share a mutable object from now on."""
        before = [self.sharing.of(n) for n in labels]
        if len(labels) > 1 and any(len(b) != len(before[0]) or b != before[0] for b in before):
            merged = self.sharing.join(labels)
            self.rec.joins.append(frozenset(merged))

    def store(self, target: Value, *values: Value) -> None:
        """Note that `values` are now held by `target`."""
        roots = target.roots.union(*(v.roots for v in values if not v.plain))
        if len(roots) > 1:
            self.join(roots)

    def enrich(self, node: ast.expr, *values: Value) -> None:
        """Let the variable at the root of a store carry what was stored: code, packages, mutable parts."""
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
            node = node.func if isinstance(node, ast.Call) else node.value
        if not isinstance(node, ast.Name):
            return
        scope = next((s for s in reversed(self.scopes) if node.id in s), None)
        env = scope if scope is not None else self.space.env
        if self.function is not None and scope is None:
            return
        old = env.get(node.id)
        if old is None or old.atom:
            return
        code = old.code.union(*(v.code for v in values))
        packages = old.packages.union(*(v.packages for v in values))
        atoms = old.atoms and all(v.type == "atom" for v in values)
        roots = old.roots.union(*(v.roots for v in values if not v.atom)) if scope is not None else old.roots
        streams = old.streams or any(v.flows for v in values)
        depth = max(old.depth, int(old.type in TABLES and any(column(v) for v in values)))
        new = Value(
            roots,
            code,
            old.library,
            packages,
            old.type,
            atoms,
            old.text,
            None,
            old.mode,
            streams=streams,
            depth=depth,
        )
        if new != replace(old, items=None):
            env[node.id] = new
