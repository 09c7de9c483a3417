"""Put the map engine under the loops of a cell: only the iterable is wrapped, the body stays the user's own.

    for x in XS: …      →  for x in <__jup2kub_map__, or what gives back XS>(spec, XS): …
    [f(x) for x in XS]  →  __jup2kub_join__(head, tail), the comprehension over the first items and over the rest,
                           if __jup2kub_on__(spec); else [f(x) for x in XS]

Lines and columns are kept, so tracebacks show the user's text. The code may be carried into another process, as joblib
does with functions: what is not among the builtins there is done without.
"""

from __future__ import annotations
import __future__ as future

import ast
import dataclasses
import functools
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAP, ON = "__jup2kub_map__", "__jup2kub_on__"
HEAD, TAIL, JOIN = "__jup2kub_head__", "__jup2kub_tail__", "__jup2kub_join__"
_SOFT = "getattr(__import__('builtins'), {!r}, lambda spec, items=None: items)"
"""An engine's function, or what does without."""
COMPREHENSIONS = {"list": ast.ListComp, "set": ast.SetComp, "dict": ast.DictComp}


@dataclasses.dataclass(frozen=True)
class Carry:
    """A name that outlives an iteration; fields as in the plan."""

    name: str
    kind: str = "log"
    group: tuple[str, ...] = ()
    op: str = ""
    first: bool = True
    none: bool = False


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the engine knows of one loop; fields as in the plan."""

    cell: int
    line: int
    column: int = 0
    function: str = ""
    asked: bool = False
    chunks: int = 0
    """Number of chunks; 0 = by time."""
    limit: int = 0
    """Most chunks in flight at once; 0 = the number of workers."""
    kind: str = "for"
    carried: tuple[Carry, ...] = ()
    conditional: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def spec_of(loop: Any) -> Spec:
    """Return the spec of a loop given as a mapping (the plan's JSON) or as any object with the same fields."""
    names = [f.name for f in dataclasses.fields(Spec)]
    found = loop if isinstance(loop, Mapping) else {n: getattr(loop, n) for n in names if hasattr(loop, n)}
    values: dict[str, Any] = {n: found[n] for n in names if found.get(n) is not None}
    for name in ("conditional", "reads"):
        values[name] = tuple(values.get(name, ()))
    values["carried"] = tuple(_carry_of(c) for c in values.get("carried", ()))
    return Spec(**values)


def _carry_of(carry: Any) -> Carry:
    if isinstance(carry, Mapping):
        return Carry(**{**carry, "group": tuple(carry.get("group", ()))})
    return Carry(**{f.name: getattr(carry, f.name) for f in dataclasses.fields(Carry)})


@functools.lru_cache(maxsize=1024)
def spec_from(text: str) -> Spec:
    """Return the spec that `rewrite` wrote into the code as `text`."""
    return spec_of(json.loads(text))


def rewrite(tree: ast.Module, specs: Iterable[Any]) -> ast.Module:
    """Return `tree` of one cell with the loops of `specs` wrapped; places that hold no such loop are left alone."""
    wanted: dict[tuple[int, int, str], str] = {}
    for loop in specs:
        spec = spec_of(loop)
        wanted[(spec.line, spec.column, spec.kind)] = json.dumps(dataclasses.asdict(spec))
    if not wanted:
        return tree
    plain = copy_of(tree)
    made: ast.Module = ast.fix_missing_locations(_Wrapper(wanted).visit(tree))
    # A cell whose definitions were made apart comes a second time, without them and their loops.
    put = {n.value for n in ast.walk(made) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    _PLAIN.update(dict.fromkeys(put.intersection(wanted.values()), plain))
    return made


def copy_of(part: Any) -> Any:
    """Return a copy of a tree, of its own fields and places only.

    `copy.deepcopy` would copy whatever else hangs on a node, and all trees share their `ast.Load()`: what shows tracebacks
    puts the parent of every node there, and so the tree of a whole module.
    """
    if isinstance(part, list):
        return [copy_of(item) for item in part]
    if not isinstance(part, ast.AST):
        return part
    made = type(part)()
    for name in (*part._fields, *part._attributes):
        if hasattr(part, name):
            setattr(made, name, copy_of(getattr(part, name)))
    return made


_PLAIN: dict[str, ast.Module] = {}
"""The user's own tree by the text of each spec that was put into a copy of it."""


def as_written(code: types.CodeType) -> types.CodeType:
    """Return what `code` would be had no loop of it been wrapped."""
    tree = next((_PLAIN[c] for c in code.co_consts if isinstance(c, str) and c in _PLAIN), None)
    if tree is None:
        return code
    flags = (code.co_flags & _FUTURE) | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    whole = compile(tree, code.co_filename, "exec", flags, dont_inherit=True)
    return next((c for c in _codes(whole) if _place_of(c) == _place_of(code)), code)


_FUTURE = functools.reduce(
    lambda flags, name: flags | getattr(future, name).compiler_flag, future.all_feature_names, 0
)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _place_of(code: types.CodeType) -> tuple[Any, ...]:
    arguments = code.co_argcount + code.co_kwonlyargcount
    return (code.co_name, code.co_firstlineno, code.co_varnames[:arguments])


class _Wrapper(ast.NodeTransformer):
    """Wraps wanted loops; nothing inside a wrapped one is wrapped again."""

    def __init__(self, wanted: Mapping[tuple[int, int, str], str]) -> None:
        self.wanted = wanted

    def visit_For(self, node: ast.For) -> ast.AST:
        text = self.wanted.get((node.lineno, node.col_offset, "for"))
        if text is None:
            return self.generic_visit(node)
        node.iter = _soft(MAP, [ast.Constant(text), node.iter], node.iter)
        return node

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._comprehension(node, "list")

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._comprehension(node, "set")

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._comprehension(node, "dict")

    def _comprehension(self, node: Any, kind: str) -> ast.AST:
        text = self.wanted.get((node.lineno, node.col_offset, kind))
        if text is None:
            return self.generic_visit(node)
        source = node.generators[0].iter
        item = "__jup2kub_items__"
        arguments = ast.arguments([], [ast.arg(item)], None, [], [], None, [])
        one = ast.Lambda(arguments, _over(node, ast.Name(item, ast.Load())))
        _place(one, node)
        head = _over(node, _call(HEAD, [ast.Constant(text), source, one], source))
        tail = _over(node, _call(TAIL, [], source))
        spread = _call(JOIN, [head, tail], node)
        on = _soft(ON, [ast.Constant(text)], source)
        return ast.copy_location(ast.IfExp(on, spread, _over(node, source)), node)


def _over(node: Any, source: ast.expr) -> Any:
    """The same comprehension over another iterable."""
    made = copy_of(node)
    made.generators[0].iter = source
    return made


def _soft(name: str, arguments: list[ast.expr], where: ast.expr) -> ast.Call:
    made = _call(name, arguments, where)
    made.func = ast.parse(_SOFT.format(name), mode="eval").body
    for node in ast.walk(made.func):
        if "lineno" in node._attributes:
            ast.copy_location(node, where)
    return made


def _call(name: str, arguments: list[ast.expr], where: ast.expr) -> ast.Call:
    made = ast.Call(ast.copy_location(ast.Name(name, ast.Load()), where), arguments, [])
    for argument in arguments:
        if isinstance(argument, ast.Constant) and not hasattr(argument, "lineno"):
            ast.copy_location(argument, where)
    return ast.copy_location(made, where)


def _place(made: ast.AST, where: ast.AST) -> None:
    for node in ast.walk(made):
        if not hasattr(node, "lineno") and "lineno" in node._attributes:
            ast.copy_location(node, where)
