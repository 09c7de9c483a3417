"""Functions, classes and imports: what they do when they are used, wherever that is."""

from __future__ import annotations

import ast

from jup2kub.analyse import paths
from jup2kub.analyse.arguments import Args
from jup2kub.analyse.expressions import code_value, lookup
from jup2kub.analyse.record import CERTAIN, SPECULATIVE, Record
from jup2kub.analyse.scopes import globals_of, is_generator, locals_of, parameters
from jup2kub.analyse.statements import Statements
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
Def = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Functions(Statements):
    """Adds what runs later to a walk."""

    # definitions

    def define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Value:
        defaults = [self.passive(d) for d in (*node.args.defaults, *(d for d in node.args.kw_defaults if d))]
        seen = tuple(s for i, s in enumerate(self.scopes) if i not in self.class_depth)
        code = Code(
            name=getattr(node, "name", "<lambda>"),
            node=node,
            space=self.space.label,
            scopes=(*self.outer, *seen),
            defaults=tuple(defaults),
            generator=is_generator(node),
        )
        merged = union(*defaults) if defaults else ATOM
        roots = merged.roots | self._captured_roots(code)
        return Value(roots, frozenset({(code, "self")}) | merged.code, type="function")

    def _captured_roots(self, code: Code) -> Names:
        """Return the labels of the variables that a nested function takes along."""
        if not code.scopes:
            return NONE
        names = {n.id for n in ast.walk(code.node) if isinstance(n, ast.Name)}
        roots: set[str] = set()
        for scope in code.scopes:
            for name in names & scope.keys():
                roots |= scope[name].roots
        for scope in code.scopes[-1:]:
            if names & scope.keys() or any(isinstance(n, ast.Nonlocal) for n in ast.walk(code.node)):
                roots.add(f"~closure{id(scope) % 9973}")
        return frozenset(roots)

    def _do_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        value = self.define_function(node)
        for annotation in [a.annotation for a in parameters(node.args)] + [node.returns]:
            self.expr(annotation)
        self.assign_definition(node.name, self.decorate(node.decorator_list, value))

    def _do_asyncfunctiondef(self, node: ast.AsyncFunctionDef) -> None:
        self._do_functiondef(node)

    def assign_definition(self, name: str, value: Value) -> None:
        self.assign(name, value)
        if not self.scopes:
            self.rec.definitions.add(name)

    def decorate(self, decorators: list[ast.expr], value: Value) -> Value:
        for decorator in reversed(decorators):
            text = ast.unparse(decorator)
            if text in ("property", "staticmethod", "classmethod") or text.endswith(
                (".setter", ".getter", ".deleter")
            ):
                continue
            call = ast.Call(func=decorator, args=[], keywords=[])
            callee = self.passive(decorator)
            args = Args([value])
            if isinstance(decorator, ast.Attribute) and callee.library is None and callee.roots:
                self.mutate(callee.roots, CERTAIN)
                self.store(callee, value)
                self.enrich(decorator, value)
            if callee.code:
                result = self.run_call(callee, args)
            elif callee.library is not None:
                if self.tables.packages.get(callee.library.partition(".")[0]) or callee.library.startswith(
                    "builtins."
                ):
                    entry = self.tables.function(callee.library) or {}
                    kind = "cached" if entry.get("result") == "cached" else "function"
                    result = Value(value.roots | callee.roots, value.code | callee.code, type=kind)
                else:
                    result = self.library_call(callee, args, call, False)
            else:
                self.mutate(callee.roots, CERTAIN)
                if isinstance(decorator, (ast.Attribute, ast.Call)):
                    self.enrich(decorator, value)
                kind = "cached" if callee.type == "cached" else "function"
                result = Value(value.roots | callee.roots, value.code, type=kind)
            value = Value(
                result.roots,
                result.code | (value.code if not result.code else frozenset()),
                type=result.type or "function",
                packages=result.packages,
            )
        return value

    def _do_classdef(self, node: ast.ClassDef) -> None:
        bases = [self.passive(b) for b in node.bases]
        keywords = {k.arg: self.passive(k.value) for k in node.keywords}
        for base in bases:
            self._read_class(base)
            if self.world.lists_subclasses:
                self.mutate(base.roots, CERTAIN)
        code = Code(name=node.name, node=node, space=self.space.label, bases=(*bases, *keywords.values()))
        self.scopes.append(code.methods)
        self.class_depth.append(len(self.scopes) - 1)
        held = self.function
        self.block(node.body)
        self.function = held
        self.class_depth.pop()
        self.scopes.pop()
        members = list(code.methods.values())
        code.shared = any(not v.atom and v.type not in ("function", "definition") for v in members)
        packages = NONE.union(
            *(b.packages | ({b.library.partition(".")[0]} if b.library else NONE) for b in bases)
        )
        roots = NONE.union(*(r.roots for r in members if r.type != "function"))
        roots = frozenset(r for r in roots if r[0] != "~")
        value = Value(roots, frozenset({(code, "self")}), type="function", packages=packages)
        self._class_hooks(bases, keywords, value, members)
        self.assign_definition(node.name, self.decorate(node.decorator_list, value))

    def _class_hooks(
        self, bases: list[Value], keywords: dict[str | None, Value], value: Value, members: list[Value]
    ) -> None:
        """Run what defining a class runs: `__init_subclass__`, the metaclass, `__set_name__`."""
        for base in bases:
            held = Value(base.roots, base.code)
            hook = lookup(held, "__init_subclass__")
            if hook is not None:
                self.run(
                    Value(base.roots, hook.code),
                    [base, *[v for k, v in keywords.items() if k != "metaclass"]],
                )
                self.store(base, value)
        metas = [keywords["metaclass"]] if "metaclass" in keywords else []
        metas += [
            b
            for base in bases
            for c, _ in base.code
            for b in c.bases
            if "metaclass" in ast.dump(c.node)[-4000:]
        ]
        for meta in metas:
            for name in ("__new__", "__init__", "__prepare__"):
                hook = lookup(meta, name)
                if hook is not None:
                    self.run(
                        Value(meta.roots, hook.code),
                        [
                            Value(meta.roots | NONE.union(*(b.roots for b in bases)), meta.code),
                            ATOM,
                            ATOM,
                            UNKNOWN,
                        ],
                    )
        for member in members:
            hook = lookup(member, "__set_name__")
            if hook is not None:
                self.run(Value(member.roots, hook.code), [member, value, ATOM])

    def _read_class(self, value: Value) -> None:
        for label in value.roots:
            self.read(label)

    def _do_global(self, node: ast.Global) -> None:
        self.global_names = self.global_names | frozenset(node.names)

    # summaries

    def summary(self, code: Code) -> Record:
        """Return what the body of a function does, in terms of its parameters and of globals as they are now."""
        world = self.world
        known = world.memo.get(code)
        if known is not None and world.fresh(known):
            return known
        if code in world.active:
            world.pending.setdefault(code, Record(whole=False, weight=1.0, loops=True))
            return world.pending[code]
        draft = world.draft.get(code)
        if draft is not None and world.fresh(draft):
            return draft
        world.active.append(code)
        record = self._body(code)
        if code in world.pending:
            record.weight, record.loops = max(record.weight, 1.0), True
            world.pending[code] = record
            record = self._body(code)
            record.weight, record.loops = max(record.weight, 1.0), True
            del world.pending[code]
        world.active.pop()
        if not world.active:
            world.draft.clear()
            record.whole = True
        if record.whole:
            world.memo[code] = record
        else:
            world.draft[code] = record
        return record

    def _body(self, code: Code) -> Record:
        node = code.node
        assert isinstance(node, Def)
        record = Record()
        walk = type(self)(self.world, self.world.space(code.space), record, code)
        walk.outer = code.scopes
        walk.local_names = locals_of(node)
        walk.global_names = globals_of(node)
        walk.looping = 0
        scope: dict[str, Value] = {}
        for place, argument in enumerate(parameters(node.args)):
            default = self._default(node.args, argument, code)
            kind = Value(frozenset({f"%{place}"}), type=None, text=f"\0{place}\0")
            scope[argument.arg] = (
                kind
                if default is None or default.atom
                else Value(kind.roots | {"^"}, default.code, text=kind.text)
            )
        walk.scopes = [scope]
        if isinstance(node, ast.Lambda):
            walk.returned.append(walk.passive(node.body))
        else:
            walk.block(node.body)
        ends = walk.exits + ([] if walk.dead else [walk.bound])
        record.bound = set.intersection(*ends) if ends else set(walk.bound)
        returned = union(*walk.returned) if walk.returned else ATOM
        if len(walk.returned) == 1:
            returned = walk.returned[0]
        record.returns = self._closed(returned, walk)
        record.marks = {label: marks for label, marks in record.marks.items() if label[0] != "~"}
        return record

    def _default(self, args: ast.arguments, argument: ast.arg, code: Code) -> Value | None:
        positional = [*args.posonlyargs, *args.args]
        with_default = [
            *positional[len(positional) - len(args.defaults) :],
            *(a for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d),
        ]
        return code.defaults[with_default.index(argument)] if argument in with_default else None

    def _closed(self, value: Value, walk: Statements) -> Value:
        """Add to a returned value all labels that its own may share."""
        items = tuple(self._closed(v, walk) for v in value.items) if value.items is not None else None
        roots = frozenset(walk.sharing.expand(value.roots))
        return Value(
            roots,
            value.code,
            value.library,
            value.packages,
            value.type,
            value.atoms,
            value.text,
            items,
            value.mode,
        )

    # use

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
            return self.run_call(Value(callee.roots, frozenset((c, "bound") for c, _ in found.code)), args)
        if code.generator or isinstance(code.node, ast.AsyncFunctionDef):
            roots = callee.roots | args.roots
            return Value(
                roots, frozenset({(code, "running")}) | args.code, type="stateful", packages=args.packages
            )
        return self._apply(code, callee if role == "bound" else None, callee, args)

    def _construct(self, code: Code, callee: Value, args: Args) -> Value:
        self.world.current += 1
        label = frozenset({f"!{self.world.current}.self"})
        plain = lookup(code_value(code, "self"), "__init__") is None or any(
            b.library or b.packages for b in code.bases
        )
        roots = label | (args.roots if plain else NONE) | (callee.roots if code.shared else NONE)
        made = Value(
            roots, frozenset({(code, "instance")}) | args.code, None, callee.packages | args.packages
        )
        for name in ("__new__", "__init__", "__post_init__"):
            found = lookup(code_value(code, "self"), name)
            if found is not None:
                own = Value(label, made.code)
                self.run_call(
                    Value(own.roots, frozenset((c, "bound") for c, _ in found.code)),
                    Args(args.values, args.named, args.rest),
                )
        for base in code.bases:
            for inner, role in base.code:
                hook = inner.methods.get("__call__") if role == "self" else None
                if hook is not None and "metaclass" in {k.arg for k in getattr(code.node, "keywords", [])}:
                    self.run(Value(base.roots, hook.code), [callee, *args.all])
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

    def _apply(self, code: Code, receiver: Value | None, callee: Value, args: Args) -> Value:
        """Do to this walk what a call of the function does."""
        found = self.summary(code)
        labels, values = self._labels(code, receiver, callee, args)
        self._read_names(code)
        self.take(found, labels, values)
        for label in found.called:
            value = values.get(f"%{label}", ATOM)
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
        own.effects |= found.effects
        own.guarded |= found.guarded
        own.opaque += [t for t in found.opaque if t not in own.opaque]
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

    def _take_mark(self, roots: Names, strength: int, values: dict[str, Value]) -> None:
        if not roots:
            return
        if strength == 0:
            self.conditional += 1
        self.mutate(roots, max(strength, SPECULATIVE) if strength == 0 else strength)
        if strength == 0:
            self.conditional -= 1
        code = frozenset(r for v in values.values() for r in v.code)
        for name in roots if code else ():
            self.enrich(ast.Name(id=name), Value(code=code))

    def _take_binding(self, name: str, found: Record, labels: dict[str, Names]) -> None:
        certain = name in found.bound
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
        for code, _ in value.code:
            self._touch_code(code)

    def _touch_code(self, code: Code) -> None:
        self._read_names(code)
        if isinstance(code.node, ast.ClassDef):
            for member in code.methods.values():
                for inner, _ in member.code:
                    self._touch_code(inner)
            for base in code.bases:
                self.touch(base)
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
                self.run_call(
                    Value(value.roots, frozenset((c, "bound") for c, _ in member.code)),
                    Args(rest=[part(value)]),
                )
        for base in code.bases:
            for inner, role in base.code:
                if role == "self" and isinstance(inner.node, ast.ClassDef):
                    self._run_members(value, inner, wanted)

    def run_method(self, value: Value, name: str) -> Value | None:
        found = lookup(value, name)
        if found is None or not found.code:
            return None
        return self.run_call(Value(value.roots, frozenset((c, "bound") for c, _ in found.code)), Args())
