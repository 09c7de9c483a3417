"""What the body of one loop leaves to its next iteration, from the text alone.

A name is private if every path assigns it before it is read. Another name may outlive the iteration only in one of
the shapes that can be put together in order (`Carry`); everything else is a `Refusal`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from jup2kub.analyse.loopshapes import COMPREHENSIONS, METHODS, bound_names, root_of, shape
from jup2kub.model.plan import Carry


@dataclass(frozen=True)
class Refusal:
    """Why a loop cannot be a map step."""

    rule: str
    line: int
    """Of the cell, from 1."""
    name: str
    text: str
    hint: str


@dataclass(frozen=True)
class Body:
    """A loop whose iterations are independent as far as the text tells."""

    carried: tuple[Carry, ...]
    conditional: tuple[str, ...]
    """Private names that some path leaves unassigned."""
    reads: tuple[str, ...]
    """Names the body reads and never assigns."""


@dataclass
class _Scan:
    """Definite assignment over one body, in program order."""

    targets: frozenset[str]
    written: frozenset[str]
    """Names that the body binds anywhere."""
    assigned: set[str] = field(default_factory=set)
    dead: bool = False
    """The path has ended (`continue`, `raise`)."""
    modules: frozenset[str] = frozenset()
    repeated: int = 0
    """Loops around the statement, inside the body."""
    ends: list[set[str]] = field(default_factory=list)
    """What is definitely assigned where a `continue` ends the iteration."""
    bound: set[str] = field(default_factory=set)
    """Names bound by statements that are no carry."""
    carried: dict[str, Carry] = field(default_factory=dict)
    exposed: dict[str, int] = field(default_factory=dict)
    """Names read although an earlier iteration may have left them: line of the first such read."""
    reads: dict[str, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def read(self, name: str, line: int) -> None:
        if name in self.assigned or self.dead:
            return
        (self.exposed if name in self.written else self.reads).setdefault(name, line)

    def refuse(self, rule: str, node: ast.AST, name: str, text: str, hint: str) -> None:
        self.refusals.append(Refusal(rule, getattr(node, "lineno", 0), name, text, hint))

    # statements -------------------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        if self._carry(node):
            return
        special = getattr(self, "_" + type(node).__name__.lower(), None)
        if special is not None:
            special(node)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)
        self._bind_all(node)

    def _assign(self, node: ast.Assign) -> None:
        self.expression(node.value)
        for target in node.targets:
            self.target(target)

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.expression(node.value)
            self.target(node.target)

    def _augassign(self, node: ast.AugAssign) -> None:
        self.expression(node.value)
        if isinstance(node.target, ast.Name):
            self.read(node.target.id, node.lineno)
        self.target(node.target)

    def _expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in MUTATORS:
            root = root_of(call.func.value)
            if root is not None and not self._own(root) and root not in self.modules:
                self.refuse(
                    "J2K365",
                    node,
                    root,
                    f"changes `{root}`, which its iterations share, by `.{call.func.attr}()`",
                    COPY,
                )
        self.expression(call)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.read(target.id, node.lineno)
                self.assigned.discard(target.id)
                self.refuse(
                    "J2K364",
                    node,
                    target.id,
                    f"deletes `{target.id}`",
                    "leave it; the next iteration rebinds it",
                )
            else:
                self.target(target)

    def _if(self, node: ast.If) -> None:
        self.expression(node.test)
        self._branches([node.body, node.orelse])

    def _match(self, node: ast.Match) -> None:
        self.expression(node.subject)
        before, ends = (set(self.assigned), self.dead), []
        for case in node.cases:
            self.assigned, self.dead = set(before[0]), before[1]
            self._bind_all(case.pattern)
            if case.guard is not None:
                self.expression(case.guard)
            self.block(case.body)
            ends.append((self.assigned, self.dead))
        self._join([*ends, before])

    def _branches(self, blocks: list[list[ast.stmt]]) -> None:
        before, ends = (set(self.assigned), self.dead), []
        for block in blocks:
            self.assigned, self.dead = set(before[0]), before[1]
            self.block(block)
            ends.append((self.assigned, self.dead))
        self._join(ends)

    def _join(self, ends: list[tuple[set[str], bool]]) -> None:
        alive = [names for names, dead in ends if not dead]
        self.dead = not alive
        self.assigned = set.intersection(*alive) if alive else set.union(*(n for n, _ in ends))

    def _for(self, node: ast.For) -> None:
        self.expression(node.iter)
        self._repeat(node.target, node.body, node.orelse)

    def _while(self, node: ast.While) -> None:
        self.expression(node.test)
        self._repeat(None, node.body, node.orelse)

    def _repeat(self, target: ast.expr | None, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        before, dead = set(self.assigned), self.dead
        if target is not None:
            self.target(target)
        self.repeated += 1
        self.block(body)
        self.repeated -= 1
        self.assigned, self.dead = before, dead  # the body may not run at all
        self._branches([orelse, []])

    def _try(self, node: ast.Try) -> None:
        before, dead = set(self.assigned), self.dead
        self.block(node.body)
        self.block(node.orelse)
        ends = [(self.assigned, self.dead)]
        for handler in node.handlers:
            # whatever the body had assigned may be missing, or be there: neither is definite
            self.assigned, self.dead = set(before), dead
            if handler.type is not None:
                self.expression(handler.type)
            if handler.name:
                self.assigned.add(handler.name)
            self.block(handler.body)
            self.assigned.discard(handler.name or "")
            ends.append((self.assigned, self.dead))
        self._join(ends)
        after, over = set(self.assigned), self.dead
        self.assigned, self.dead = before, dead
        self.block(node.finalbody)
        self.assigned, self.dead = self.assigned | after, self.dead or over

    _trystar = _try

    def _with(self, node: ast.With) -> None:
        before = set(self.assigned)
        swallows = False
        for item in node.items:
            self.expression(item.context_expr)
            swallows |= any(w in ast.unparse(item.context_expr) for w in ("suppress", "raises"))
            if item.optional_vars is not None:
                self.target(item.optional_vars)
        self.block(node.body)
        if swallows:
            self.assigned, self.dead = before, False

    def _continue(self, node: ast.Continue) -> None:
        self.ends.append(set(self.assigned))
        self.dead = True

    def _raise(self, node: ast.Raise) -> None:
        for part in (node.exc, node.cause):
            if part is not None:
                self.expression(part)
        self.dead = True

    def _functiondef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)):
            self.expression(part)
        self.assigned.add(node.name)
        self._nested(node)

    def _classdef(self, node: ast.ClassDef) -> None:
        for part in (*node.decorator_list, *node.bases, *(k.value for k in node.keywords)):
            self.expression(part)
        self._nested(node)
        self.assigned.add(node.name)

    def _nested(self, node: ast.AST) -> None:
        """A scope inside the body reads its free names when called, at the earliest here."""
        own = bound_names(node.body if isinstance(node, ast.ClassDef) else [node])
        own |= {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and inner.id not in own:
                self.read(inner.id, inner.lineno)

    def _bind_all(self, node: ast.AST) -> None:
        self.bound |= bound_names([node])
        self.assigned |= bound_names([node])

    # expressions ------------------------------------------------------------------------------------------

    def expression(self, node: ast.expr) -> None:
        if isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
            own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            own |= {a.arg for a in ast.walk(node) if isinstance(a, ast.arg)}
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load) and inner.id not in own:
                    self.read(inner.id, inner.lineno)
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self.read(node.id, node.lineno)
        elif isinstance(node, (ast.BoolOp, ast.IfExp)):
            first = node.values[0] if isinstance(node, ast.BoolOp) else node.test
            self.expression(first)
            kept = set(self.assigned)
            for later in node.values[1:] if isinstance(node, ast.BoolOp) else [node.body, node.orelse]:
                self.expression(later)
            self.assigned = kept
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.expression(child)
            elif isinstance(child, ast.keyword):
                self.expression(child.value)
        if isinstance(node, ast.NamedExpr):
            self.assigned.add(node.target.id)

    def target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self.bound.add(node.id)
            if not self.dead:
                self.assigned.add(node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for part in node.elts:
                self.target(part)
        elif isinstance(node, ast.Starred):
            self.target(node.value)
        else:
            root = root_of(node)
            self.expression(node.value if isinstance(node, (ast.Attribute, ast.Subscript)) else node)
            if isinstance(node, ast.Subscript):
                self.expression(node.slice)
            if root is not None and not self._own(root):
                self.refuse("J2K365", node, root, f"changes `{root}`, which its iterations share", COPY)

    def _own(self, name: str) -> bool:
        return name in self.assigned or name in self.targets

    # carried names ----------------------------------------------------------------------------------------

    def _carry(self, node: ast.stmt) -> bool:
        """Whether `node` is one of the shapes by which a name may outlive an iteration; then it is noted."""
        found = shape(node)
        if found is None or self._own(found[0].name):
            return False
        carry, parts = found
        known = self.carried.get(carry.name)
        if known is not None and known != carry:
            self.refuse("J2K364", node, carry.name, f"carries `{carry.name}` in two different ways", PURE)
        elif carry.kind == "best" and (known is not None or self.repeated):
            self.refuse("J2K364", node, carry.name, f"an iteration may compare `{carry.name}` twice", PURE)
        self.carried.setdefault(carry.name, carry)
        for part in parts:
            self.expression(part)
        return True


COPY = "work on a copy of it, or collect the changes in a list and apply them after the loop"
PURE = "collect the parts in a list and combine them after the loop"
MUTATORS = METHODS | {
    "fit", "partial_fit", "sort", "reverse", "pop", "popitem", "remove", "clear", "shuffle", "seed", "resize", "fill", "put",
    "send", "commit", "execute", "write", "writelines", "setdefault", "load_state_dict", "step", "backward", "train",
}  # fmt: skip


def study(
    target: ast.expr, body: list[ast.stmt], modules: frozenset[str] = frozenset()
) -> Body | tuple[Refusal, ...]:
    """Classify the names of a loop's body; `target` is what the `for` binds, `modules` are names of modules."""
    targets = bound_names([target])
    scan = _Scan(frozenset(targets), frozenset(targets | bound_names(body)), set(targets), modules=modules)
    scan.block(body)
    for name, line in scan.exposed.items():
        text = f"`{name}` is left by one iteration and read by the next"
        scan.refusals.append(Refusal("J2K364", line, name, text, PURE))
    grouped = [n for c in scan.carried.values() for n in (c.group or (c.name,))]
    for name in set(grouped):
        if name in scan.reads:
            text = f"reads `{name}`, which earlier iterations have changed"
            scan.refusals.append(Refusal("J2K364", scan.reads[name], name, text, PURE))
        if name in scan.bound or name in targets or grouped.count(name) > 1:
            text = f"`{name}` is both carried and assigned otherwise"
            scan.refusals.append(Refusal("J2K364", body[0].lineno, name, text, PURE))
    if scan.refusals:
        return tuple(sorted(set(scan.refusals), key=lambda r: (r.line, r.rule, r.name)))
    ends: list[set[str]] = [*scan.ends, *([] if scan.dead else [scan.assigned])]
    always = set.intersection(*ends) if ends else set()
    conditional = scan.written - always - set(grouped)
    return Body(tuple(scan.carried.values()), tuple(sorted(conditional)), tuple(sorted(scan.reads)))
