"""Expressions: what they read, what they share, what notebook code they may run."""

from __future__ import annotations

import ast
from dataclasses import replace

from jup2kub.analyse import paths
from jup2kub.analyse.iteration import Iteration
from jup2kub.analyse.members import (
    asks_names,
    bound_to,
    class_labels,
    code_value,
    is_property,
    lookup,
    method_role,
    of_all,
)
from jup2kub.analyse.record import SPECULATIVE
from jup2kub.analyse.values import ATOM, NONE, UNKNOWN, Names, Value, held, holder, immutable, part, union

DATA = ("ndarray", "frame")
VIEWS_OF_FRAME = frozenset(
    {"T", "loc", "iloc", "at", "iat", "values", "array", "flat", "real", "imag", "columns", "index"}
)
ATOM_ATTRIBUTES = frozenset(
    {
        "shape",
        "size",
        "ndim",
        "dtype",
        "dtypes",
        "name",
        "nbytes",
        "itemsize",
        "empty",
        "__name__",
        "__doc__",
        "__class__",
    }
)


class Expressions(Iteration):
    """Adds expressions to a walk."""

    def expr(self, node: ast.expr | None) -> Value:
        """Return the value of an expression that is used: what it carries may run."""
        value = self.passive(node)
        if value.code and not isinstance(node, (ast.Lambda, ast.Call)):
            self.touch(value)
        return value

    def passive(self, node: ast.expr | None) -> Value:
        """Return the value of an expression that is only passed on."""
        if node is None:
            return ATOM
        handler = getattr(self, "_" + type(node).__name__.lower(), None)
        if handler is None:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.expr(child)
            return UNKNOWN
        value: Value = handler(node)
        return value

    def _constant(self, node: ast.Constant) -> Value:
        return Value(type="atom", text=str(node.value)) if isinstance(node.value, (str, int)) else ATOM

    def _name(self, node: ast.Name) -> Value:
        value = self.load(node.id)
        if value.type == "shell":
            self.rec.stop("it uses the kernel itself")
        if value.library and not value.library.startswith("builtins."):
            self.use_package(value.library)
        elif value.packages:
            for package in value.packages:
                self.use_package(package)
        return value

    def use_package(self, dotted: str) -> None:
        """Note that the settings of a package may be felt here."""
        self.rec.packages.add(dotted.partition(".")[0])

    def _attribute(self, node: ast.Attribute) -> Value:
        base = self.passive(node.value)
        return self.attribute(base, node.attr)

    def attribute(self, base: Value, name: str) -> Value:
        if base.library is not None:
            return self._library_attribute(base, name)
        if base.type == "shell" and "transformer" in name:
            self.world.rewritten = True
        if name == "__class__":
            return Value(
                class_labels(base.roots), frozenset((c, "self") for c, r in base.code if r == "instance")
            )
        found = self._own_attribute(base, name)
        if found is not None:
            return found
        if base.type in DATA and name in ATOM_ATTRIBUTES:
            return ATOM
        if base.code:
            self.touch(base)
        if base.type == "handle" and base.text:
            return Value(base.roots, text=base.text, packages=base.packages)
        if base.atom:
            return Value(type="atom", packages=base.packages)
        if name in VIEWS_OF_FRAME and base.type in DATA:
            return Value(base.roots, packages=base.packages, type=base.type, depth=base.depth)
        kind = base.type if base.type in ("frame", "ndarray", "plot", "shared", "shell") else None
        roots = base.roots | self._of_class(base, name)
        mode = "method" if self.tables.method(name) in ("mutate", "fit") else ""
        depth = base.depth if kind in DATA else 0
        return Value(
            roots, base.code, None, base.packages, kind, streams=base.streams, mode=mode, depth=depth
        )

    def _hooked(self, base: Value, found: bool) -> list[Value]:
        """Run what classes of the notebook do when an attribute is asked for, or one that is not there."""
        hooks = ("__getattribute__",) if found else ("__getattribute__", "__getattr__")
        given = []
        for code, role in base.code:
            for hook in hooks if role == "instance" else ():
                member = lookup(code_value(code, role), hook)
                if member is not None and member.code:
                    given.append(self.run(bound_to(base, member), [ATOM]))
        return given

    def _of_class(self, base: Value, name: str) -> Names:
        """Return the label of the class if `self.name` may be what the class body binds: it is every object's."""
        owner = self.function.owner if self.function is not None else None
        if owner is None or "%0" not in base.roots:
            return NONE
        member = lookup(code_value(owner, "self"), name)
        return frozenset({"%0'"}) if member is not None and of_all(member) and not member.code else NONE

    def _library_attribute(self, base: Value, name: str) -> Value:
        dotted = f"{base.library}.{name}"
        space = self.world.spaces.get(f"@mod:{base.library}")
        if space is not None:
            self.read(space.label)
            value = space.env.get(name)
            if value is not None:
                self.rec.deps[(space.label, name)] = value
                return value.at(frozenset({space.label}))
            if f"@mod:{dotted}" in self.world.spaces:
                return Value(library=dotted, type="module")
            hook = space.env.get("__getattr__")
            if hook is not None:
                self.run(hook.at(frozenset({space.label})), [ATOM])
            return UNKNOWN.at(frozenset({space.label}))
        entry = self.tables.function(dotted)
        if entry and "resource" in entry:
            self.read(entry["resource"])
            return Value(roots=frozenset({entry["resource"]}), library=dotted)
        self.use_package(dotted)
        return Value(library=dotted, packages=base.packages, roots=base.roots)

    def _own_attribute(self, base: Value, name: str) -> Value | None:
        """Return the method or property that notebook classes give to `base.name`; of a parameter the caller knows it."""
        self.rec.asked |= {(r, name) for r in base.roots if r[0] == "%" and r[1:].isdigit()}
        found = []
        for code, role in base.code:
            member = lookup(code_value(code, role), name) if role in ("instance", "self") else None
            if member is None:
                continue
            if not member.code:
                found.append(part(base) if not member.atom else member)
                continue
            getter = lookup(member, "__get__") if any(r == "instance" for _, r in member.code) else None
            if getter is not None:
                found.append(self.run(bound_to(member, getter), [base]))
                continue
            roles = frozenset(method_role(c, r, role) for c, r in member.code)
            bound = Value(base.roots, roles, type="bound", of=base.code)
            if role == "instance" and any(is_property(c.node) for c, _ in member.code):
                found.append(self.run(bound, [base]))
            else:
                found.append(bound)
        found += self._hooked(base, bool(found))
        if found:
            self.read_classes(base)
        return union(*found) if found else None

    def _subscript(self, node: ast.Subscript) -> Value:
        if asks_names(node.value) and self.sees_globals():
            return self.named_global(node.slice)
        base = self.passive(node.value)
        index = self.expr(node.slice)
        self.operate(index)
        if base.library == "builtins.Out":
            return (
                self.numbered(int(index.text))
                if index.text and index.text.isdigit()
                else UNKNOWN.at(base.roots)
            )
        if base.library and self.tables.function(base.library) and base.roots:
            return ATOM
        self.operate(base)
        place = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if base.items is not None and isinstance(place, int) and -len(base.items) <= place < len(base.items):
            return held(base.items[place], base)
        if base.type == "defaultdict":
            self.mutate(base.roots, SPECULATIVE)
        if base.type == "stateful" or base.type == "shared":
            self.operate(base)
        if base.type == "atom":
            return Value(type="atom", packages=base.packages)
        if (
            base.type == "ndarray"
            and not base.depth
            and isinstance(node.slice, (ast.List, ast.ListComp, ast.Compare))
        ):
            return Value(type="ndarray", packages=base.packages)
        if isinstance(node.slice, ast.Slice) and base.type in ("list", "tuple"):
            return Value(
                NONE if base.atoms else base.roots, base.code, None, base.packages, base.type, base.atoms
            )
        return part(base)

    def _starred(self, node: ast.Starred) -> Value:
        return self.consume(node.value)

    def _binop(self, node: ast.BinOp) -> Value:
        left, right = self.expr(node.left), self.expr(node.right)
        self.operate(left)
        self.operate(right)
        text = paths.combine(node.op, left, right)
        packages = left.packages | right.packages
        if left.type == "atom" and right.type == "atom":
            return Value(type="atom", text=text, packages=packages)
        if left.type in DATA or right.type in DATA:
            return Value(packages=packages, type=left.type if left.type in DATA else right.type)
        code = left.code | right.code
        kept = left.type if left.type == right.type else None
        sequences = {"list", "tuple"} & {left.type, right.type}
        if (
            isinstance(node.op, ast.Add)
            or (isinstance(node.op, ast.Mult) and sequences)
            or (isinstance(node.op, ast.BitOr) and kept == "dict")
        ):
            roots = NONE.union(*(v.roots for v in (left, right) if not v.atoms and not v.atom))
            if left.atom or right.atom:
                roots = roots if sequences else NONE
            kind = kept or (sequences.pop() if sequences else None)
            return Value(roots, code, None, packages, kind, left.atoms and right.atoms, text)
        return Value(code=code, packages=packages, type=kept if kept in ("data", "plot") else None, text=text)

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.expr(node.operand)
        self.operate(value)
        if isinstance(node.op, ast.Not) or value.type == "atom":
            return Value(type="atom", packages=value.packages)
        return Value(
            code=value.code, packages=value.packages, type=value.type if value.type in DATA else None
        )

    def _boolop(self, node: ast.BoolOp) -> Value:
        values = [self.expr(node.values[0])]
        self.conditional += 1
        values += [self.expr(v) for v in node.values[1:]]
        self.conditional -= 1
        return union(*values)

    def sees_globals(self) -> bool:
        """Whether `globals()`, `locals()` and `dir()` are the built-in ones and show the notebook's names."""
        return (
            not any(n in self.space.env for n in ("globals", "locals", "vars", "dir"))
            and not self.space.label
        )

    def named_global(self, node: ast.expr) -> Value:
        """Return the global that a constant text names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.maybe_name(node.value)
        self.expr(node)
        self.rec.stop("it looks up names that the text does not tell")
        return UNKNOWN

    def _compare(self, node: ast.Compare) -> Value:
        asked = isinstance(node.ops[0], (ast.In, ast.NotIn)) and asks_names(node.comparators[0])
        if asked and len(node.ops) == 1 and isinstance(node.left, ast.Constant) and self.sees_globals():
            self.named_global(node.left)
            return ATOM
        values = [self.expr(v) for v in (node.left, *node.comparators)]
        for value, op in zip(values[1:], node.ops, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                self.drain(value)
        if not all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            for value in values:
                self.operate(value)
        known = {v.type for v in values}
        if all(isinstance(op, (ast.In, ast.NotIn, ast.Is, ast.IsNot)) for op in node.ops) or known <= {
            "atom",
            "list",
            "dict",
            "tuple",
        }:
            return ATOM
        return Value(
            packages=NONE.union(*(v.packages for v in values)),
            type=next((v.type for v in values if v.type in DATA), None),
        )

    def _ifexp(self, node: ast.IfExp) -> Value:
        self.operate(self.expr(node.test))
        self.conditional += 1
        values = self.passive(node.body), self.passive(node.orelse)
        self.conditional -= 1
        return union(*values)

    def _display(self, kind: str, nodes: list[ast.expr]) -> Value:
        full = any(not isinstance(n, ast.Starred) for n in nodes)
        return replace(holder(kind, [self.passive(n) for n in nodes]), full=full)

    def _list(self, node: ast.List) -> Value:
        return self._display("list", node.elts)

    def _tuple(self, node: ast.Tuple) -> Value:
        return self._display("tuple", node.elts)

    def _set(self, node: ast.Set) -> Value:
        for element in node.elts:
            self.operate(self.passive(element))
        return self._display("set", node.elts)

    def _dict(self, node: ast.Dict) -> Value:
        keys = [self.expr(key) for key in node.keys if key is not None]
        for key in keys:
            self.operate(key)
        known = len(keys) == len(node.keys) and all(immutable(key) for key in keys)
        made = replace(self._display("dict", node.values), full=bool(keys), keyed=known)
        held = [key for key in keys if key.roots and not key.plain]
        return replace(holder("dict", [made, *held]), full=made.full) if held else made

    def _joinedstr(self, node: ast.JoinedStr) -> Value:
        return self._format(node.values)

    def _templatestr(self, node: ast.expr) -> Value:
        return self._format(list(getattr(node, "values", [])))

    def _format(self, values: list[ast.expr]) -> Value:
        texts = []
        for value in values:
            if isinstance(value, ast.Constant):
                texts.append(str(value.value))
                continue
            inner = getattr(value, "value", value)
            made = self.expr(inner)
            self.operate(made)
            spec = getattr(value, "format_spec", None)
            if spec is not None:
                self.expr(spec)
            texts.append("*" if spec is not None or made.text is None else made.text)
        return Value(type="atom", text="".join(texts))

    def _lambda(self, node: ast.Lambda) -> Value:
        return self.define_function(node)

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.passive(node.value)
        kept = self.scopes
        self.scopes = kept[: self._function_depth()]
        self.assign(node.target.id, value)
        self.scopes = kept
        return value

    def _function_depth(self) -> int:
        return 0 if self.function is None else 1

    def _await(self, node: ast.Await) -> Value:
        value = self.passive(node.value)
        return self.run_coroutine(value)

    def run_coroutine(self, value: Value) -> Value:
        self.operate(value)
        return part(value)

    def _yield(self, node: ast.Yield) -> Value:
        if node.value is not None:
            self.returned.append(self.passive(node.value))
        return UNKNOWN

    def _yieldfrom(self, node: ast.YieldFrom) -> Value:
        self.returned.append(self.consume(node.value))
        return UNKNOWN

    def _slice(self, node: ast.Slice) -> Value:
        for child in (node.lower, node.upper, node.step):
            self.expr(child)
        return ATOM

    def _call(self, node: ast.Call) -> Value:
        return self.call(node)
