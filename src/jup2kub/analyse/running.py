"""What a call of notebook code does to the cell that makes it, and what touching its carrier reads."""

from __future__ import annotations

import ast
from dataclasses import replace

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.members import bound_to, class_labels, code_value, lookup
from jup2kub.analyse.record import SPECULATIVE, OpaqueOf, Record
from jup2kub.analyse.scopes import parameters
from jup2kub.analyse.summaries import Summaries
from jup2kub.analyse.values import ATOM, NONE, UNKNOWN, Code, Names, Value, part, renamed, union

NOT_OPERATORS = frozenset(
    {
        "__init__",
        "__new__",
        "__init_subclass__",
        "__post_init__",
        "__class_getitem__",
        "__set_name__",
        "__prepare__",
    }
)
OPERATORS = "()"
"""Stands for all operators and built-in functions, where attributes that are asked for are noted."""
OF_ONE_KIND = ("atom", "ndarray", "frame", "plot", "shared")
"""Types whose parts are known as they are."""
Def = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Running(Summaries):
    """Adds calls of notebook functions and classes to a walk."""

    def run_call(self, callee: Value, args: Args) -> Value:
        results = []
        if callee.type == "cached":
            self.mutate(callee.roots, SPECULATIVE)
        if callee.type == "partial":
            args = Args(rest=[*args.all, Value(callee.roots)])
        for code, role in callee.code:
            results.append(self._run_one(code, role, callee, args))
        if callee.packages and callee.type == "definition":
            results.append(Value(callee.roots, packages=callee.packages))
        return union(*results)

    def run(self, value: Value, args: list[Value] | None = None) -> Value:
        spread = Args(rest=args) if args else Args()
        return self.run_call(value, spread)

    def _run_one(self, code: Code, role: str, callee: Value, args: Args) -> Value:
        if role == "running":
            return self._apply(code, None, callee, Args(rest=[callee]))
        if isinstance(code.node, ast.ClassDef):
            if role == "self":
                return self._construct(code, callee, args)
            found = lookup(code_value(code, role), "__call__")
            if found is None:
                self.run_methods(callee)
                return part(callee)
            return self.run_call(bound_to(callee, found), args)
        if code.generator or isinstance(code.node, ast.AsyncFunctionDef):
            self.world.current += 1
            roots = args.roots | (NONE if callee.plain else callee.roots) | {f"!{self.world.current}.frame"}
            return Value(
                roots, frozenset({(code, "running")}) | args.code, type="stateful", packages=args.packages
            )
        receiver = replace(callee, code=callee.of) if role == "bound" else None
        return self._apply(code, receiver, callee, args)

    def _construct(self, code: Code, callee: Value, args: Args) -> Value:
        self.world.current += 1
        label = frozenset({f"!{self.world.current}.self"})
        plain = lookup(code_value(code, "self"), "__init__") is None or any(
            b.library or b.packages for b in code.bases
        )
        roots = label | (args.roots if plain else NONE) | (callee.roots if code.shared else NONE)
        made = Value(
            roots,
            frozenset({(code, "instance")}) | args.code,
            None,
            callee.packages | args.packages,
            streams=any(v.flows for v in args.all),
        )
        own_object = Value(label, frozenset({(code, "instance")}))
        for name in ("__new__", "__init__", "__post_init__"):
            found = lookup(code_value(code, "self"), name)
            if found is not None:
                self.run_call(bound_to(own_object, found), Args(args.values, args.named, args.rest))
        for member in code.methods.values():
            if member.type == "definition" and member.code:
                self.escape(member, [])  # `field(default_factory=…)`: each new object has one made
        for base in code.bases:
            for inner, role in base.code:
                hook = inner.methods.get("__call__") if role == "self" else None
                if hook is not None and "metaclass" in {k.arg for k in getattr(code.node, "keywords", [])}:
                    self.run(Value(base.roots, hook.code), [callee, *args.all])
        self.mortal(code, own_object)
        self._read_names(code)
        return made

    def _labels(
        self, code: Code, receiver: Value | None, callee: Value, args: Args
    ) -> tuple[dict[str, Names], dict[str, Value]]:
        """Match arguments with parameters: labels to roots, and labels to values."""
        node = code.node
        assert isinstance(node, Def)
        given = [receiver, *args.values] if receiver is not None else list(args.values)
        rest = union(*args.rest) if args.rest else None
        values: dict[str, Value] = {}
        positional = len(node.args.posonlyargs) + len(node.args.args)
        for place, argument in enumerate(parameters(node.args)):
            value = rest
            if place < positional and place < len(given):
                value = given[place]
            elif argument.arg in args.named:
                value = args.named[argument.arg]
            elif argument is node.args.vararg or argument is node.args.kwarg:
                left = given[positional:] if argument is node.args.vararg else list(args.named.values())
                value = union(*left, *args.rest) if left or args.rest else None
            values[f"%{place}"] = value if value is not None else ATOM
        labels = {label: value.roots if not value.atom else NONE for label, value in values.items()}
        labels["^"] = callee.roots
        return labels, values

    def _class_names(self, value: Value, owner: Code | None) -> Names:
        """Return the names of the classes that a value may be an object of; `owner`: of this one or one derived from it."""
        names = set(class_labels(value.roots))
        classes = {code for code, role in value.code if role == "instance"}
        for name, held in self.world.space("").env.items():
            for code, role in held.code:
                if role == "self" and (code in classes or (owner is not None and descends(code, owner))):
                    names.add(name)
        return frozenset(names)

    def _apply(self, code: Code, receiver: Value | None, callee: Value, args: Args) -> Value:
        """Do to this walk what a call of the function does."""
        labels, values = self._labels(code, receiver, callee, args)
        found = self.summary(code, self.kinds_of(code, values))
        self._read_names(code)
        for label in found.marks:
            if label[-1] == "'" and label[0] == "%":
                owner = code.owner if label == "%0'" else None
                labels[label] = self._class_names(values.get(label[:-1], ATOM), owner)
        self.take(found, labels, values)
        for number in found.called:
            value = values.get(f"%{number}", ATOM)
            self.escape(value, [v for v in values.values() if v is not value])
        make: dict[str, str] = {}
        self.world.current += 1
        result = renamed(found.returns, labels, make)
        fresh = {n: f"!{self.world.current}.{n}" for n in make}
        return renamed(result, {v: frozenset({fresh[k]}) for k, v in make.items()}, {}) if make else result

    def take(self, found: Record, labels: dict[str, Names], values: dict[str, Value]) -> None:
        """Merge the record of a body that runs here into this walk's own."""
        own = self.rec
        for name in found.reads:
            self.read(name)
        own.unresolved.update(n for n in found.unresolved if n not in self.bound)
        own.deps.update(found.deps)
        own.whole = own.whole and found.whole
        for label, marks in found.marks.items():
            for strength in marks:
                self._take_mark(labels.get(label, frozenset({label})), strength, values)
        for group in found.joins:
            joined = frozenset().union(
                *(labels.get(x, frozenset({x}) if x[0] not in "~!" else NONE) for x in group)
            )
            if len(joined) > 1:
                self.join(joined)
        for name in found.assigned:
            self._take_binding(name, found, labels)
        for label in sorted(found.drained):
            self.drain(values.get(label, ATOM))
        for label, name in sorted(found.asked):
            self._take_asked(values.get(label, ATOM), name)
        own.effects |= found.effects
        own.guarded |= found.guarded
        own.opaque += [t for t in found.opaque if t not in own.opaque]
        for call in found.opaque_of:
            self._take_opaque(call, values)
        own.packages |= found.packages
        own.file_reads += [
            p for p in (self._path(t, values) for t in found.file_reads) if p not in own.file_reads
        ]
        own.file_writes += [
            p for p in (self._path(t, values) for t in found.file_writes) if p not in own.file_writes
        ]
        own.weight += found.weight * self.factor
        own.loops = own.loops or found.loops
        if found.barrier:
            own.stop(found.barrier)

    def _take_asked(self, value: Value, name: str) -> None:
        """Run what the class of an argument does when an attribute is asked for or stored, or an operator applied."""
        asking = (value.code, name)
        if asking in self.world.asking:  # asked for while it is being answered: once more does the same
            return
        self.world.asking.append(asking)
        if name == OPERATORS:
            self.operate(replace(value, code=frozenset(r for r in value.code if r[1] == "instance")))
        elif name.endswith("="):
            self.stored_attribute(value, name[:-1], ATOM)
        else:
            self._own_attribute(value, name)
        self.world.asking.pop()

    def _take_opaque(self, call: OpaqueOf, values: dict[str, Value]) -> None:
        """Resolve a call of a method of a parameter by what is passed for it."""
        for value in (values.get(label, UNKNOWN) for label in sorted(call.labels)):
            for package in value.packages if value.type == "shared" else ():
                self.change("@lib:" + package)
            if call.discarded:
                self.change_libraries(value)
            # Parts of containers and of the notebook's own objects may be anything.
            if value.code or not (value.packages or value.type in OF_ONE_KIND):
                self.opaque_method(value, call.text, call.discarded)

    def _take_mark(self, roots: Names, strength: int, values: dict[str, Value]) -> None:
        if not roots:
            return
        if strength == 0:
            self.conditional += 1
        self.mutate(roots, max(strength, SPECULATIVE) if strength == 0 else strength)
        if strength == 0:
            self.conditional -= 1
        code = frozenset(r for v in values.values() for r in v.code)
        streams = any(v.flows for v in values.values())
        for name in roots if code or streams else ():
            self.enrich(ast.Name(id=name), Value(code=code, streams=streams))

    def _take_binding(self, name: str, found: Record, labels: dict[str, Names]) -> None:
        certain = name in found.bound
        before = set(self.bound)
        self.conditional += not certain
        if name[0] == "@":
            self.define(name)
        elif name in found.deleted and certain:
            held, self.scopes = self.scopes, []
            self.delete(name)
            self.scopes = held
        else:
            held, self.scopes = self.scopes, []
            self.assign(name, renamed(found.exports.get(name, UNKNOWN), labels, {}))
            self.scopes = held
        self.conditional -= not certain
        if not certain:
            self.bound = before

    def _path(self, text: str, values: dict[str, Value]) -> str:
        for label, value in values.items():
            text = text.replace(f"\0{label[1:]}\0", value.text if value.text is not None else paths.ANY)
        return text

    # carriers

    def _read_names(self, code: Code) -> None:
        """An object's class, and a function, is read under its global name: other cells may have changed it."""
        held = self.world.space(code.space).env.get(code.name)
        if held is not None and any(c is code for c, _ in held.code):
            self.read(code.space or code.name)

    def read_classes(self, value: Value) -> None:
        for code, _ in value.code:
            self._read_names(code)
            for base in code.bases:
                self.read_classes(base)

    def touch(self, value: Value) -> None:
        seen: set[Code] = set()  # a class may hold itself: `node.__class__ = Leaf`, `Tree.empty = Tree()`
        for code, _ in value.code:
            self._touch_code(code, seen)

    def _touch_code(self, code: Code, seen: set[Code]) -> None:
        if code in seen:
            return
        seen.add(code)
        self._read_names(code)
        if isinstance(code.node, ast.ClassDef):
            for member in (*code.methods.values(), *code.bases):
                for inner, _ in member.code:
                    self._touch_code(inner, seen)
            return
        found = self.summary(code)
        self.rec.deps.update(found.deps)
        self.rec.whole = self.rec.whole and found.whole
        self.rec.packages |= found.packages
        env = self.world.spaces[""].env
        for name in found.reads:
            if name[0] == "@" or name in env:
                self.read(name)

    def operate(self, value: Value) -> None:
        if self.function is not None:
            self.rec.asked |= {(r, OPERATORS) for r in value.roots if r[0] == "%" and r[1:].isdigit()}
        for code, role in value.code:
            if role == "running":
                self._apply(code, None, value, Args(rest=[value]))
                if value.type != "stateful":
                    self.mutate(value.roots, SPECULATIVE)
            elif role == "instance":
                self._run_members(value, code, lambda n: n.startswith("__") and n not in NOT_OPERATORS)

    def run_methods(self, value: Value) -> None:
        for code, role in value.code:
            if role == "instance" and isinstance(code.node, ast.ClassDef):
                self._run_members(value, code, lambda n: n not in NOT_OPERATORS)

    def _run_members(self, value: Value, code: Code, wanted) -> None:  # type: ignore[no-untyped-def]
        for name, member in code.methods.items():
            if wanted(name) and member.code:
                self.run_call(bound_to(value, member), Args(rest=[part(value)]))
        for base in code.bases:
            for inner, role in base.code:
                if role == "self" and isinstance(inner.node, ast.ClassDef):
                    self._run_members(value, inner, wanted)

    def run_method(self, value: Value, name: str) -> Value | None:
        found = lookup(value, name)
        if found is None or not found.code:
            return None
        return self.run_call(bound_to(value, found), Args())


def descends(code: Code, owner: Code) -> bool:
    """Whether a class is `owner` or derives from it."""
    return code is owner or any(descends(inner, owner) for base in code.bases for inner, _ in base.code)
