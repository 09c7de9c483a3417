"""Statements: which names they bind, on which paths."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from jup2kub.analyse.calls import Calls
from jup2kub.analyse.members import asks_names, bound_to, code_value, lookup
from jup2kub.analyse.nested import TABLES, column
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.reflection import constant
from jup2kub.analyse.values import ATOM, Code, Value, held, holder, immutable, part, union

UNHASHABLE = frozenset({"list", "dict", "set", "ndarray", "frame", "defaultdict"})
"""Types that cannot be keys of a dictionary."""


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
        if len(node.targets) > 1 and not value.roots and not value.plain:  # one object for all targets
            self.world.current += 1
            value = value.at(frozenset({f"!{self.world.current}.all"}))
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
        key = self.load_target(node.target)
        self._stored(node.target, base, value, key)
        self._still_known(node.target, base, key)

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

    def load_target(self, node: ast.expr) -> Value:
        """Evaluate the index of a store; return what may become a key that the container then holds."""
        key = self.expr(node.slice) if isinstance(node, ast.Subscript) else ATOM
        return ATOM if key.type in UNHASHABLE else key

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
            self.bind(target.value, holder("list", [value]))
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            key = self.load_target(target)
            if not self._global_store(target, value):
                base = self._store_base(target)
                self._stored(target, base, value, key)
                self._still_known(target, base, key)

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

    def _stored(self, target: ast.expr, base: Value, value: Value, key: Value = ATOM) -> None:
        """Note an attribute or item store into `base`, under `key`."""
        self._store_effects(target, base, value)
        self.operate(base)
        if isinstance(target, ast.Attribute):
            self.stored_attribute(base, target.attr, value)
        if base.atom:
            if isinstance(target, ast.Attribute) and base.library is None and base.type != "module":
                self._hidden_object(target)
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
        keeps = base.type not in TABLES or isinstance(target, ast.Attribute) or column(value)
        if not keeps:
            return
        if not value.atom:
            self.store(base, value)
        self.enrich(target, value)
        if key.roots and base.type != "list":  # a dictionary holds its keys too
            self.store(base, key)
            self.enrich(target, key)

    def _hidden_object(self, target: ast.Attribute) -> None:
        """What takes an attribute is no immutable value, whatever it looked like (`Colour.RED.note = …`)."""
        node: ast.expr = target.value
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        if isinstance(node, ast.Name):
            self.mutate(self.load(node.id).roots, SPECULATIVE)

    def _still_known(self, target: ast.expr, base: Value, key: Value) -> None:
        """A store of one item leaves a container as full as it was, and its keys immutable if the new one is."""
        if not isinstance(target, ast.Subscript) or not isinstance(target.value, ast.Name):
            return
        env = next((s for s in reversed(self.scopes) if target.value.id in s), self.space.env)
        held = env.get(target.value.id)
        if held is None or base.type not in ("dict", "defaultdict", "list") or held.type != base.type:
            return
        full = base.full and not isinstance(target.slice, ast.Slice)
        keyed = base.keyed and immutable(key)
        if (full or keyed) and not (self.function is not None and env is self.space.env):
            env[target.value.id] = replace(held, full=full, keyed=keyed)

    def stored_attribute(self, base: Value, name: str, value: Value) -> None:
        """Run the property setter, or `__setattr__`, that a store to `base.name` calls; of a parameter the caller knows it."""
        self.rec.asked |= {(r, name + "=") for r in base.roots if r[0] == "%" and r[1:].isdigit()}
        for code, role in base.code:
            hook = lookup(code_value(code, role), "__setattr__") if role == "instance" else None
            if hook is not None and hook.code:
                self.run(bound_to(base, hook), [ATOM, value])
            setter = lookup(code_value(code, role), f"{name}.setter") if role == "instance" else None
            if setter is not None:
                bound = frozenset((c, "bound") for c, _ in setter.code)
                self.run(Value(base.roots, bound, of=base.code), [value])
            member = lookup(code_value(code, role), name) if role == "instance" else None
            held_as = member is not None and any(r == "instance" for _, r in member.code)
            descriptor = lookup(member, "__set__") if member is not None and held_as else None
            if member is not None and descriptor is not None:
                self.run(bound_to(member, descriptor), [base, value])

    def _class_changed(self, code: Code, role: str) -> None:
        """A store into a class reached through an object (`type(self).n`) changes the class under its name."""
        env = self.world.space(code.space).env
        if role == "self" and code.name in env and any(c is code for c, _ in env[code.name].code):
            self.mutate(frozenset({code.space or code.name}), CERTAIN)

    def _store_effects(self, target: ast.expr, base: Value, value: Value) -> None:
        if base.library is not None:
            name = f".{target.attr}" if isinstance(target, ast.Attribute) else ""
            self.keep(base.library + name, value, instead=bool(name))
            entry = self.tables.function(base.library)
            if base.library == "sys.modules" and isinstance(target, ast.Subscript):
                module = constant(target.slice)
                self.join(value.roots | {f"@lib:{module}" if module else "@lib:sys"})
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
        elif base.type in ("shared", "shell"):
            if base.type == "shell":
                self.keep("IPython", value)
            for package in base.packages:
                self.change("@lib:" + package)

    def _unpack(self, target: ast.Tuple | ast.List, value: Value) -> None:
        if value.code or value.type in ("stateful", "handle", None):
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
