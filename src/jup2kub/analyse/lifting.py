"""Definitions that may be made before the rest of their cell runs.

A cell that computes for long and also defines functions or classes can leave the main line only if every kernel can
make these definitions from their own statements: then those are split off and run first. That is so where making them
has no effect, reads nothing that the rest of the cell makes, and no other statement of the cell touches the names.
What the rest of the cell does to the objects themselves is seen when it runs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from jup2kub.analyse.annotations import Annotations
from jup2kub.analyse.values import Names, Value

Def = ast.FunctionDef | ast.AsyncFunctionDef
PURE = frozenset(
    [
        *("abc.abstractmethod", "contextlib.contextmanager", "contextlib.asynccontextmanager"),
        *("collections.namedtuple", "dataclasses.dataclass", "dataclasses.field", "enum.auto", "enum.unique"),
        *("functools.cached_property", "functools.total_ordering", "functools.wraps"),
        *("typing.NewType", "typing.TypeVar", "typing.final", "typing.runtime_checkable", "typing.overload"),
        *("typing.no_type_check", "builtins.property", "builtins.staticmethod", "builtins.classmethod"),
        *("builtins.float", "builtins.int", "builtins.frozenset", "builtins.tuple"),
    ]
)
"""Calls and decorators that have no effect and make the same at any time."""
DISPLAYS = (
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Dict,
)


@dataclass(frozen=True)
class Lifted:
    """What of a cell may run first."""

    names: Names
    lines: tuple[int, ...]
    """First lines (`lineno`) of the statements, imports that they need among them."""
    reads: Names
    """Globals of earlier cells that the statements read when they run."""


@dataclass
class _Search:
    """One cell. `env`: the notebook's variables after it; `counts`: how often the cell's text binds each name."""

    env: Mapping[str, Value]
    tables: Annotations
    modules: Iterable[str]
    counts: Mapping[str, int]
    imports: dict[str, ast.stmt] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    local: list[set[str]] = field(default_factory=list)
    """Names bound so far by the bodies of the classes around."""
    reads: set[str] = field(default_factory=set)
    used: dict[int, ast.stmt] = field(default_factory=dict)
    """Imports that the definitions need, by line."""

    def name(self, name: str) -> bool:
        """Whether evaluating the name now and at its place in the cell gives the same, and nothing that can change."""
        if name in self.made or any(name in scope for scope in self.local):
            return True
        if name in self.imports:
            statement = self.imports[name]
            self.used[statement.lineno] = statement
            return True
        if self.counts.get(name):
            return False
        value = self.env.get(name)
        if value is None:
            return name in _BUILTINS
        self.reads.add(name)
        return _fixed(value)

    def dotted(self, node: ast.expr) -> str | None:
        """Return the dotted name of the library object that the expression stands for; None = it is none."""
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else None
        if not isinstance(node, ast.Name) or any(node.id in scope for scope in self.local):
            return None
        value = self.env.get(node.id)
        if value is None:
            return f"builtins.{node.id}" if node.id in _BUILTINS else None
        return value.library

    def pure(self, node: ast.AST | None) -> bool:
        """Whether the expression has no effect and gives the same now as at its place in the cell."""
        if node is None or isinstance(node, (ast.Constant, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)):
            return True
        if isinstance(node, ast.expr_context):
            return True
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.Attribute):
            root = self.dotted(node)
            return root is not None and self._known(root) and self.pure(node.value)
        if isinstance(node, ast.Lambda):
            return self._arguments(node.args)
        if isinstance(node, ast.Subscript):  # list[int]
            return self.pure(node.value) and self.pure(node.slice)
        if isinstance(node, ast.Call):
            return (
                self.dotted(node.func) in PURE
                and self.pure(node.func)
                and all(self.pure(a) for a in (*node.args, *(k.value for k in node.keywords)))
            )
        return isinstance(node, DISPLAYS) and all(self.pure(n) for n in ast.iter_child_nodes(node))

    def _known(self, dotted: str) -> bool:
        top = dotted.partition(".")[0]
        known = top in self.tables.packages or top in sys.stdlib_module_names or top == "builtins"
        return known and top not in self.modules

    def _arguments(self, args: ast.arguments) -> bool:
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        notes = [a.annotation for a in every if a is not None]
        return all(self.pure(d) for d in (*args.defaults, *args.kw_defaults, *notes))

    def _decorator(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute) and node.attr in ("setter", "getter", "deleter"):
            inner = node.value
            return isinstance(inner, ast.Name) and bool(self.local) and inner.id in self.local[-1]
        called = node.func if isinstance(node, ast.Call) else node
        return self.dotted(called) in PURE and self.pure(node)

    def function(self, node: Def) -> bool:
        return (
            all(self._decorator(d) for d in node.decorator_list)
            and self._arguments(node.args)
            and self.pure(node.returns)
        )

    def _base(self, node: ast.expr) -> bool:
        base = node.value if isinstance(node, ast.Subscript) else node
        dotted = self.dotted(base)
        if not self.pure(node):
            return False
        if dotted is not None:
            return self._known(dotted)
        value = self.env.get(base.id) if isinstance(base, ast.Name) else None
        return value is not None and _plain_class(value, self._known)

    def classdef(self, node: ast.ClassDef) -> bool:
        if not all(self._decorator(d) for d in node.decorator_list):
            return False
        if not all(self._base(b) for b in node.bases) or node.keywords:
            return False
        self.local.append(set())
        try:
            return all(self._member(s) for s in node.body)
        finally:
            self.local.pop()

    def _member(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Pass) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            return True
        name = ""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            hooks = node.name in ("__init_subclass__", "__set_name__", "__del__")
            good, name = not hooks and self.function(node), node.name
        elif isinstance(node, ast.ClassDef):
            good, name = self.classdef(node), node.name
        elif isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) for t in node.targets):
            self.local[-1].update(t.id for t in node.targets if isinstance(t, ast.Name))
            return self.pure(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            good, name = self.pure(node.annotation) and self.pure(node.value), node.target.id
        else:
            return False
        self.local[-1].add(name)
        return good

    def statement(self, node: ast.stmt) -> str | None:
        """Return the name that a definition binds if it may run first; None = it may not, or is none."""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return node.name if self.function(node) else None
        if isinstance(node, ast.ClassDef):
            return node.name if self.classdef(node) else None
        if not isinstance(node, ast.Assign) or not isinstance(node.value, (ast.Lambda, ast.Call)):
            return None
        target = node.targets[0]
        alone = len(node.targets) == 1 and isinstance(target, ast.Name)
        return target.id if alone and isinstance(target, ast.Name) and self.pure(node.value) else None


_BUILTINS = frozenset(
    [
        *("object", "int", "float", "complex", "str", "bytes", "bool", "list", "dict", "set", "frozenset"),
        *("tuple", "type", "range", "property", "staticmethod", "classmethod", "slice", "bytearray"),
        *("Exception", "BaseException", "ValueError", "TypeError", "RuntimeError", "KeyError", "IndexError"),
        *("LookupError", "ArithmeticError", "OSError", "AttributeError", "StopIteration", "Warning"),
        *(
            "UserWarning",
            "NotImplementedError",
            "AssertionError",
            "len",
            "abs",
            "min",
            "max",
            "sum",
            "sorted",
        ),
    ]
)


def _fixed(value: Value) -> bool:
    """Whether the object is a number, text, module, library object, or a definition of the notebook."""
    if value.atom or value.library is not None:
        return True
    return bool(value.code) and all(role == "self" for _, role in value.code) and not value.roots - {""}


def _plain_class(value: Value, known: Callable[[str], bool]) -> bool:
    """Whether subclassing the class runs no code: neither a metaclass nor `__init_subclass__`."""
    for code, role in value.code:
        if role != "self" or not isinstance(code.node, ast.ClassDef) or code.node.keywords:
            return False
        if "__init_subclass__" in code.methods:
            return False
        for base in code.bases:
            if not (known(base.library) if base.library is not None else _plain_class(base, known)):
                return False
    return bool(value.code)


def _bindings(tree: ast.Module) -> tuple[dict[str, int], set[str]]:
    """Return how often the text binds each name, at any depth, and the names whose attributes or items it stores to."""
    counts: dict[str, int] = {}
    stored: set[str] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names = [node.id]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.asname or a.name.partition(".")[0] for a in node.names]
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names = list(node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names = [node.name]
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names = [node.rest]
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            root: ast.expr = node
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            stored |= {root.id} if isinstance(root, ast.Name) else set()
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return counts, stored


def find(
    text: str | None,
    env: Mapping[str, Value],
    tables: Annotations,
    modules: Iterable[str],
    reads: Iterable[str],
) -> Lifted | None:
    """Return what of a cell may run before the rest; None = nothing.

    `text`: the cell after IPython's transformation; `env`: what is known of the notebook's variables after it; `modules`:
    names of local modules; `reads`: what the cell reads of the versions before it.
    """
    try:
        tree = ast.parse(text or "")
    except (SyntaxError, ValueError, RecursionError):
        return None
    counts, stored = _bindings(tree)
    search = _Search(env, tables, frozenset(modules), counts)
    before = frozenset(reads)
    lines: list[int] = []
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _import(search, node)
            continue
        held = set(search.reads), dict(search.used)
        name = search.statement(node)
        if name is None or counts[name] != 1 or name in stored or name in before:
            search.reads, search.used = held
            continue
        search.made.add(name)
        names.add(name)
        lines.append(node.lineno)
    chosen = sorted({*lines, *search.used})
    starts = [node.lineno for node in tree.body]
    if not names or any(
        starts.count(line) > 1 for line in chosen
    ):  # a line tells them only if nothing else is on it
        return None
    return Lifted(frozenset(names), tuple(chosen), frozenset(search.reads & env.keys() - names))


def _import(search: _Search, node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*"):
        return
    for alias in node.names:
        module = node.module if isinstance(node, ast.ImportFrom) else alias.name
        name = alias.asname or alias.name.partition(".")[0]
        if module and search._known(module) and search.counts[name] == 1:
            search.imports[name] = node
