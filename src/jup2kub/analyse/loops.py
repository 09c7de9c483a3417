"""Loops whose iterations are independent by the text, and why others are not.

Pure. What only the run can tell (the iterable's type, sharing of objects, time) is checked there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from jup2kub.analyse.loopbody import Body, Refusal, study
from jup2kub.analyse.loopdraws import DRAWS, draws, fresh, last_name, own_nodes, seeds
from jup2kub.analyse.loopshapes import bound_names
from jup2kub.analyse.magics import ToPython, body_starts, text_of
from jup2kub.kit.graph import closure
from jup2kub.model.flow import FlowGraph
from jup2kub.model.notebook import Cell, Notebook
from jup2kub.model.plan import Decision, MapLoop

CHEAP_CALLS = frozenset([
    "abs", "all", "any", "bool", "chr", "dict", "divmod", "enumerate", "float", "format", "frozenset",
    "getattr", "hasattr", "hash", "hex", "id", "int", "isinstance", "iter", "len", "list", "max", "min",
    "next", "oct", "ord", "print", "range", "repr", "reversed", "round", "set", "sorted", "str", "sum",
    "tuple", "type", "zip",
])  # fmt: skip
CHEAP_METHODS = frozenset([
    "append", "add", "extend", "update", "items", "keys", "values", "get", "split", "strip", "lower",
    "upper", "replace", "join", "format", "startswith", "endswith", "lstrip", "rstrip", "title", "count",
    "index", "find", "setdefault",
])  # fmt: skip
CONSUMED = frozenset({"iter", "open", "filter", "map"})
KINDS = {ast.ListComp: "list", ast.SetComp: "set", ast.DictComp: "dict"}
SPAWN = "give each iteration its own generator: rng = np.random.default_rng(s) for s in np.random.SeedSequence(…).spawn(n)"


@dataclass(frozen=True)
class _World:
    """What the whole notebook says about its names."""

    modules: Mapping[str, str]
    """Imported names: the module's first part."""
    functions: Mapping[str, frozenset[str]]
    """Notebook functions and methods by bare name: the names they read."""
    generators: frozenset[str]
    """Notebook functions that yield."""
    rngs: frozenset[str]
    """Names bound to a seeded generator object."""
    seeded: frozenset[str]
    """`numpy`, `random`, `torch`: global generators that some cell seeds."""
    bound: frozenset[str]
    """Every name that the notebook binds."""


def find(
    notebook: Notebook, graph: FlowGraph | None = None, to_python: ToPython | None = None
) -> tuple[tuple[MapLoop, ...], tuple[Decision, ...]]:
    """Return the loops that may be map steps, and a decision for each heavy-looking loop that may not.

    Looked at: `for` loops and comprehensions at top level of a cell, and the outermost ones in its functions and
    methods; inside a loop that is refused, the loops in its body. `graph` is not needed; cells it calls barriers
    are passed over. The body of `%%time` and `%%capture` counts as the cell's own text if `to_python` can transform it;
    the lines of its loops are those of the body, for that is what the kernel compiles.
    """
    trees = {c.index: text_of(c.source, c.python or "", to_python) for c in notebook.code if c.python}
    world = _world(list(trees.values()))
    loops: list[MapLoop] = []
    decisions: list[Decision] = []
    for cell in notebook.code:
        if cell.index not in trees:
            continue
        search = _Search(cell, world)
        if graph is None or cell.index not in graph.cells or graph.cells[cell.index].barrier is None:
            search.statements(trees[cell.index].body, "", None)
            if cell.options.map is not None and not search.loops and not search.decisions:
                search.quick = True  # none looks long, but the user asks
                search.statements(trees[cell.index].body, "", None)
        loops.extend(replace(found, line=found.line - body_starts(cell.source)) for found in search.loops)
        decisions.extend(search.decisions)
        if cell.options.map is not None and not search.loops:
            text = f"cell {cell.index} asks for a map step, but no loop in it can be one"
            why = "; ".join(d.text for d in search.decisions) or "there is no loop"
            decisions.append(
                Decision("J2K360", (cell.index,), f"{text}: {why}", "see the reasons, or remove `#| map`")
            )
    return tuple(loops), tuple(decisions)


def _world(trees: list[ast.Module]) -> _World:
    modules: dict[str, str] = {}
    functions: dict[str, frozenset[str]] = {}
    generators, rngs, seeded, bound = set(), set(), set(), set()
    for tree in trees:
        bound |= bound_names(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules.update({(a.asname or a.name.split(".")[0]): a.name.split(".")[0] for a in node.names})
            elif isinstance(node, ast.ImportFrom):
                modules.update({(a.asname or a.name): (node.module or "").split(".")[0] for a in node.names})
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                read = _names(node) - fresh(node)
                functions[node.name] = functions.get(node.name, frozenset()) | read
                if any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in own_nodes(node.body)):
                    generators.add(node.name)
            elif seeds(node):
                rngs |= bound_names([node])
            elif isinstance(node, ast.Call) and last_name(node.func) in ("seed", "manual_seed"):
                seeded |= {modules[r] for r in [_first(node.func)] if r in modules}
    return _World(
        modules,
        functions,
        frozenset(generators),
        frozenset(rngs),
        frozenset(seeded & set(DRAWS)),
        frozenset(bound),
    )


def _names(node: ast.AST) -> frozenset[str]:
    """Names, attributes and dotted chains of them read anywhere in `node`."""
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    chains = [n for n in ast.walk(node) if isinstance(n, ast.Attribute)]
    return frozenset(found | {n.attr for n in chains} | {ast.unparse(n) for n in chains if _dotted(n)})


def _dotted(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _dotted(node.value))


def _first(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


class _Search:
    """The loops of one cell."""

    def __init__(self, cell: Cell, world: _World) -> None:
        self.cell, self.world = cell, world
        self.loops: list[MapLoop] = []
        self.decisions: list[Decision] = []
        self.quick = False
        """Take also loops whose iterations look quick."""

    def statements(self, body: list[ast.stmt], function: str, inside: str | None) -> None:
        """Look for loops in a block; `inside` names a surrounding `with`, which forbids them."""
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{function}.{node.name}" if function else node.name
                self.statements(node.body, name, "async" if isinstance(node, ast.AsyncFunctionDef) else None)
            elif isinstance(node, ast.For):
                if not self._loop(node, function, inside):
                    self.statements([*node.body, *node.orelse], function, inside)
            else:
                self._expressions(node, function, inside)
                within = "with" if isinstance(node, (ast.With, ast.AsyncWith)) else inside
                for _, value in ast.iter_fields(node):
                    if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                        self.statements(value, function, within)
                    elif (
                        isinstance(value, list)
                        and value
                        and isinstance(value[0], (ast.ExceptHandler, ast.match_case))
                    ):
                        for part in value:
                            self.statements(part.body, function, within)

    def _expressions(self, node: ast.stmt, function: str, inside: str | None) -> None:
        todo = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
        while todo:
            part = todo.pop()
            if isinstance(part, tuple(KINDS)):
                self._comprehension(part, function, inside)
            elif not isinstance(part, (ast.Lambda, ast.GeneratorExp)):
                todo.extend(c.value if isinstance(c, ast.keyword) else c for c in ast.iter_child_nodes(part)
                            if isinstance(c, (ast.expr, ast.keyword)))  # fmt: skip

    def _loop(self, node: ast.For, function: str, inside: str | None) -> bool:
        """Return whether the loop may be a map step; decisions are noted for those that look heavy."""
        if not self._heavy(node.body):
            return False
        found = study(node.target, node.body, frozenset(self.world.modules))
        refusals = [
            *self._jumps(node.body, inside),
            *self._source(node.iter),
            *self._called(node.body, found),
        ]
        if not isinstance(found, Body):
            refusals.extend(found)
        if refusals:
            self._refuse(node, refusals)
            return False
        assert isinstance(found, Body)
        self._accept(node, function, "for", found)
        return True

    def _comprehension(self, node: ast.expr, function: str, inside: str | None) -> None:
        generator = node.generators[0]  # type: ignore[attr-defined]
        made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]  # type: ignore[attr-defined]
        body: list[ast.stmt] = [ast.copy_location(ast.Expr(e), node) for e in (*generator.ifs, *made)]
        plain = not any(isinstance(n, (ast.NamedExpr, ast.Await)) for n in ast.walk(node))
        if len(node.generators) != 1 or generator.is_async or not plain or not self._heavy(body):  # type: ignore[attr-defined]
            return
        found = study(generator.target, body, frozenset(self.world.modules))
        refusals = [*self._jumps(body, inside), *self._source(generator.iter), *self._called(body, found)]
        if not isinstance(found, Body) or refusals or found.carried:
            self._refuse(node, [*refusals, *(found if not isinstance(found, Body) else ())])
        else:
            self._accept(node, function, KINDS[type(node)], found)

    def _accept(self, node: ast.stmt | ast.expr, function: str, kind: str, body: Body) -> None:
        option = self.cell.options.map
        self.loops.append(
            MapLoop(
                cell=self.cell.index,
                line=node.lineno,
                function=function,
                asked=option is not None,
                chunks=option.chunks if option else None,
                limit=option.limit if option else None,
                column=node.col_offset,
                kind=kind,
                carried=body.carried,
                conditional=body.conditional,
                reads=body.reads,
            )
        )

    def _refuse(self, node: ast.stmt | ast.expr, refusals: list[Refusal]) -> None:
        for refusal in refusals[:1]:
            where = f"cell {self.cell.index}, line {refusal.line or node.lineno}"
            text = f"{where}: the loop of line {node.lineno} is no map step: {refusal.text}"
            self.decisions.append(Decision(refusal.rule, (self.cell.index,), text, refusal.hint))

    def _heavy(self, body: list[ast.stmt]) -> bool:
        """Whether an iteration may take long: it calls something, multiplies matrices, or loops."""
        if self.quick:
            return True
        for node in own_nodes(body):
            if isinstance(node, (ast.For, ast.While)) or isinstance(getattr(node, "op", None), ast.MatMult):
                return True
            if isinstance(node, ast.Call):
                name = last_name(node.func)
                cheap = CHEAP_CALLS - self.world.bound if isinstance(node.func, ast.Name) else CHEAP_METHODS
                if name not in cheap:
                    return True
        return False

    def _jumps(self, body: list[ast.stmt], inside: str | None) -> Iterator[Refusal]:
        if inside is not None:
            text = "it stands inside `with`" if inside == "with" else "it stands in an async function"
            yield Refusal("J2K363", body[0].lineno, "", text, "move the loop out of it")
        for node in own_nodes(body):
            line = getattr(node, "lineno", 0)
            if isinstance(
                node, (ast.Return, ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
            ):
                word = type(node).__name__.lower()
                yield Refusal(
                    "J2K361", line, word, f"`{word}` leaves it", "collect the results in a list first"
                )
            elif isinstance(node, (ast.Global, ast.Nonlocal)):
                yield Refusal(
                    "J2K364",
                    line,
                    node.names[0],
                    f"writes the outer name `{node.names[0]}`",
                    "return the value",
                )
        if _breaks(body):
            yield Refusal(
                "J2K361", body[0].lineno, "break", "`break` ends it early", "filter the items first"
            )
        for node in ast.walk(ast.Module(body, [])):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                yield Refusal(
                    "J2K364",
                    node.lineno,
                    node.names[0],
                    f"writes the outer name `{node.names[0]}`",
                    "return the value",
                )

    def _source(self, node: ast.expr) -> Iterator[Refusal]:
        """Iterables that are surely consumed."""
        called = last_name(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.GeneratorExp) or called in CONSUMED or called in self.world.generators:
            hint = "make a list of it first: `for x in list(…)`"
            yield Refusal("J2K362", node.lineno, "", "its iterable is consumed by the loop", hint)
        elif isinstance(node, ast.Call) and called in (
            "enumerate",
            "zip",
            "tqdm",
            "trange",
            "sorted",
            "reversed",
            "list",
        ):
            for part in node.args if called not in ("list", "sorted") else ():
                yield from self._source(part)

    def _called(self, body: list[ast.stmt], found: Body | tuple[Refusal, ...]) -> Iterator[Refusal]:
        """What the functions that the body calls read: carried names, seeded generators."""
        here = _names(ast.Module(body, []))
        reached = closure(
            here & set(self.world.functions),
            {n: r & set(self.world.functions) for n, r in self.world.functions.items()},
        )
        inner = frozenset().union(*(self.world.functions[n] for n in reached)) if reached else frozenset()
        line = body[0].lineno
        for name in sorted((here | inner) & self.world.rngs - bound_names(body)):
            text = f"draws from the seeded generator `{name}`, which chains the iterations"
            yield Refusal("J2K366", line, name, text, SPAWN)
        for name in sorted(n for n, package in self.world.modules.items() if package in self.world.seeded):
            if any(draws(name, self.world.modules[name], read) for read in here | inner):
                text = f"may draw from the seeded global generator of `{self.world.modules[name]}`, which chains the iterations"
                yield Refusal("J2K366", line, name, text, SPAWN)
        if isinstance(found, Body):
            for carry in found.carried:
                if carry.name in inner:
                    text = f"a function it calls reads `{carry.name}`, which earlier iterations have changed"
                    yield Refusal(
                        "J2K364", line, carry.name, text, "pass what the function needs as an argument"
                    )
                if carry.kind in ("max", "min") and carry.kind in self.world.bound:
                    yield Refusal(
                        "J2K364", line, carry.name, f"`{carry.kind}` is not the builtin", "rename it"
                    )


def _breaks(body: list[ast.stmt]) -> bool:
    """Whether a `break` in `body` belongs to the loop itself."""
    for node in body:
        if isinstance(node, ast.Break):
            return True
        if isinstance(node, (ast.For, ast.While, ast.AsyncFor)):
            if _breaks(node.orelse):
                return True
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for _, value in ast.iter_fields(node):
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt) and _breaks(value):
                    return True
                if (
                    isinstance(value, list)
                    and value
                    and isinstance(value[0], (ast.ExceptHandler, ast.match_case))
                ) and any(_breaks(part.body) for part in value):
                    return True
    return False
