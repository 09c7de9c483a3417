"""Calls of built-in functions, and what library code may do with what it is given."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jup2kub.analyse.arguments import Args
from jup2kub.analyse.members import class_labels
from jup2kub.analyse.record import CERTAIN, SPECULATIVE
from jup2kub.analyse.reflection import Reflection
from jup2kub.analyse.values import ATOM, KERNEL_ITSELF, NONE, Value, element, holder, moving, part, union

LOOKS = frozenset(
    {
        "type",
        "id",
        "isinstance",
        "print",
        "repr",
        "str",
        "callable",
        "hasattr",
        "getattr",
        "len",
        "super",
        "vars",
    }
)
"""Built-in functions that do not go through what they are given."""


class BuiltinCalls(Reflection):
    """Adds built-in functions to a walk."""

    def _builtin(self, name: str, args: Args, node: ast.Call) -> Value:
        table = self.tables.builtins
        if name == "open":
            return self.open_file(args)
        if name in ("display", "update_display"):
            return self.display(name, args)
        if name == "get_ipython":
            self.rec.stop("it uses the kernel itself")
            return KERNEL_ITSELF
        if name in ("exit", "quit"):
            self.rec.stop("it ends the kernel")
        if name == "print" and "file" in args.named:
            self.use_up(args.named["file"])
        for place in table["mutates"].get(name, ()):
            if place < len(args.values):
                self.mutate(args.values[place].roots, CERTAIN)
        return self._builtin_result(name, args, table, node)

    def _builtin_result(self, name: str, args: Args, table: Mapping[str, Any], node: ast.Call) -> Value:
        everything = args.all
        lazy = name in table["stateful"]
        for value in everything:
            if not lazy:
                self.escape(value, everything, dunders=True)
            elif value.type in ("stateful", "handle") or any(role == "running" for _, role in value.code):
                self.mutate(moving([value]), SPECULATIVE)
            if (not lazy and name not in LOOKS) or (lazy and value.type is None):
                self.drain(value)
        if name in table["atom"]:
            return self._atom_result(name, args, node)
        if (
            name == "getattr"
            and len(args.values) > 1
            and args.values[1].text
            and "*" not in args.values[1].text
        ):
            return union(self.attribute(args.values[0], args.values[1].text), *args.values[2:])
        if name == "type":
            classes = frozenset((c, "self") for v in everything for c, r in v.code if r == "instance")
            return Value(class_labels(args.roots), classes, None, args.packages)
        if name in ("memoryview", "super", "vars"):
            own = frozenset({"%0"}) if name == "super" and self.function is not None else NONE
            return Value(args.roots | own, args.code, None, args.packages)
        if name in table["share"] or lazy:
            return self._holding_result(name, args, lazy)
        if name[:1].isupper():
            return Value(type="atom" if not args.code else None, code=args.code)
        return Value(roots=args.roots, code=args.code, packages=args.packages)

    def _atom_result(self, name: str, args: Args, node: ast.Call) -> Value:
        if name == "range":
            return Value(type="list", atoms=True, full=self._range_turns(node))
        known = name in ("str", "int", "repr") and bool(args.values) and args.values[0].type == "atom"
        return Value(
            type="atom", atoms=True, packages=args.packages, text=args.values[0].text if known else None
        )

    def _holding_result(self, name: str, args: Args, lazy: bool) -> Value:
        """Return what holds the elements of the arguments, or one of them, or passes over them."""
        if not lazy:
            given = [self.given_out(v) for v in args.values]
            args = Args(given, args.named, [self.given_out(v) for v in args.rest])
        kinds = {"sorted": "list", "bytearray": "list"}
        kind = kinds.get(name, name if name in ("list", "dict", "set", "tuple") else None)
        if name in ("max", "min") and len(args.values) > 1:
            return union(*args.all)  # one of them, not of their elements
        contents = [element(v) if kind != "dict" else part(v) for v in args.all if v.type != "function"]
        if name == "next":
            contents += args.values[1:]
        inner = holder("stateful" if lazy else kind or "list", contents)
        keeps = lazy or name in ("dict", "list", "tuple", "next", "getattr")
        code = args.code if keeps else inner.code
        if name in ("max", "min", "next", "getattr") and not inner.atoms:
            return Value(inner.roots, code, None, inner.packages)
        return Value(
            args.roots if lazy else inner.roots,
            code,
            None,
            inner.packages,
            "stateful" if lazy else kind or ("atom" if inner.atoms and contents else None),
            inner.atoms and kind is not None,
            moves=moving(args.all) if lazy else None,
            streams=inner.streams,
            full=bool(args.all) and all(v.full for v in args.all),
            keyed=kind == "dict" and all(v.keyed for v in [*args.values, *args.rest]),
            items=self._passed(name, args) if lazy else None,
        )

    def _passed(self, name: str, args: Args) -> tuple[Value, ...] | None:
        """Return what an iterator over the arguments gives, where its shape is known."""
        if args.rest or not args.values:
            return None
        if name == "enumerate":
            return (holder("tuple", [ATOM, element(args.values[0])]),)
        return (holder("tuple", [element(v) for v in args.values]),) if name == "zip" else None

    def escape(self, value: Value, others: list[Value], dunders: bool = False) -> None:
        """Note that library code gets hold of a value and may call it, or methods of it."""
        if "method" in value.mode:
            self.mutate(value.roots, SPECULATIVE)
        for code, role in value.code:
            held = Value(value.roots, frozenset({(code, role)}))
            if (code, role) in self.world.escaped:  # it was handed on to itself: once more does the same
                self.mutate(value.roots.union(*(o.roots for o in others)), SPECULATIVE)
                continue
            self.world.escaped.append((code, role))
            if role == "instance":
                self.operate(held) if dunders else self.run_methods(held)
            elif role == "running":
                self.operate(replace(held, type=value.type))
                if value.type == "stateful":
                    self.use_up(value)  # what it goes through moves with it; what it reads does not change
            elif isinstance(code.node, ast.ClassDef):
                if not dunders:
                    made = self.run(held, [Value(NONE.union(*(o.roots for o in others if o is not value)))])
                    self.run_methods(made)
            else:
                self.run(held, [Value(NONE.union(*(o.roots for o in others if o is not value)), type=None)])
            self.world.escaped.pop()
        if dunders and not value.code:
            self.operate(value)
        if self.function is not None:
            for root in value.roots:
                if root[0] == "%" and root[1:].isdigit() and not dunders:
                    self.rec.called.add(int(root[1:]))
