"""Summaries: what the body of a function does, relative to its parameters."""

from __future__ import annotations

import ast
from dataclasses import replace

from jup2kub.analyse.control import Control
from jup2kub.analyse.record import Record
from jup2kub.analyse.scopes import globals_of, locals_of, parameters
from jup2kub.analyse.values import ATOM, NONE, Code, Value, union
from jup2kub.analyse.world import Kinds

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


class Summaries(Control):
    """Adds summaries of functions to a walk."""

    def summary(self, code: Code, kinds: Kinds = ()) -> Record:
        """Return what the body of a function does, in terms of its parameters and of globals as they are now.

        `kinds`: what its parameters are, see `kinds_of`: of an array it is known what a copy shares, of a function
        what its calls do.
        """
        world = self.world
        key = (code, kinds)
        known = world.memo.get(key)
        if known is not None and world.fresh(known):
            return known
        if key in world.active:
            world.pending.setdefault(key, Record(whole=False, weight=1.0, loops=True))
            return world.pending[key]
        draft = world.draft.get(key)
        if draft is not None and world.fresh(draft):
            return draft
        world.active.append(key)
        record = self._body(code, kinds)
        if key in world.pending:
            record.weight, record.loops = max(record.weight, 1.0), True
            world.pending[key] = record
            record = self._body(code, kinds)
            record.weight, record.loops = max(record.weight, 1.0), True
            del world.pending[key]
        world.active.pop()
        if not world.active:
            world.draft.clear()
            record.whole = True
        (world.memo if record.whole else world.draft)[key] = record
        return record

    def _body(self, code: Code, kinds: Kinds) -> Record:
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
            given = kinds[place] if place < len(kinds) else None
            if given is not None and (given.code or given.library):
                scope[argument.arg] = given if given.library else given.at(kind.roots)
                continue
            if given is not None:
                kind = replace(kind, type=given.type)
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

    def kinds_of(self, code: Code, values: dict[str, Value]) -> Kinds:
        """Return what is known of the `values` that a function is called with, by label, in the order of its parameters.

        Functions count only where the function called is not being followed already: it may hand itself ever new ones.
        """
        node = code.node
        assert isinstance(node, Def)
        many = [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
        again = any(active is code for active, _ in self.world.active)
        kinds: list[Value | None] = []
        for argument, value in zip(parameters(node.args), values.values(), strict=True):
            if value.type in ("ndarray", "frame"):
                kinds.append(Value(type=value.type))
            elif again or argument in many or not _function(value):
                kinds.append(None)
            else:
                kinds.append(Value(NONE, value.code, value.library, value.packages, value.type))
        return tuple(kinds) if any(kinds) else ()

    def _default(self, args: ast.arguments, argument: ast.arg, code: Code) -> Value | None:
        positional = [*args.posonlyargs, *args.args]
        with_default = [
            *positional[len(positional) - len(args.defaults) :],
            *(a for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d),
        ]
        return code.defaults[with_default.index(argument)] if argument in with_default else None

    def _closed(self, value: Value, walk: Control) -> Value:
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
            streams=value.streams,
            depth=value.depth,
        )


def _function(value: Value) -> bool:
    """Whether a value is one certain function: of the notebook, or of a library."""
    if value.library is not None:
        return not value.roots and "." in value.library
    held = [(c.node, role, c.generator) for c, role in value.code]
    plain = (ast.FunctionDef, ast.Lambda)
    return (
        value.type == "function"
        and len(held) == 1
        and all(isinstance(n, plain) and role == "self" and not g for n, role, g in held)
    )
