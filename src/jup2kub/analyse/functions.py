"""Definitions: functions, their decorators, and classes."""

from __future__ import annotations

import ast

from jup2kub.analyse.arguments import Args
from jup2kub.analyse.members import lookup, member_name, of_all
from jup2kub.analyse.record import CERTAIN
from jup2kub.analyse.running import Running
from jup2kub.analyse.scopes import is_generator, parameters
from jup2kub.analyse.values import ATOM, NONE, UNKNOWN, Code, Names, Value, union

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


class Functions(Running):
    """Adds definitions to a walk."""

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
        self.assign_definition(member_name(node), self.decorate(node.decorator_list, value))

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
            self._registered(decorator, value)
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
                    result = Value(value.roots, value.code | callee.code, type=kind)
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

    def _registered(self, decorator: ast.expr, value: Value) -> None:
        """Note that a library keeps what one of its decorators registers: `@register_series_accessor("name")`."""
        dotted = self.passive(decorator.func if isinstance(decorator, ast.Call) else decorator).library
        if dotted is not None and self.tables.setter(dotted):
            self.keep(dotted, value)

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
        for member in members:
            for inner, _ in member.code:
                inner.owner = inner.owner or code
        code.shared = any(of_all(v) for v in members)
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
