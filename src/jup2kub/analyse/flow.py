"""The analysis itself: the cells in order, then what only the whole notebook tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from jup2kub.analyse import keys, lifting, observed
from jup2kub.analyse.annotations import Annotations, load
from jup2kub.analyse.cell import Cell as CellWalk
from jup2kub.analyse.cell import last_value, surely_something
from jup2kub.analyse.edges import edges
from jup2kub.analyse.handed import EVERYWHERE
from jup2kub.analyse.magics import inline
from jup2kub.analyse.record import CERTAIN, SPECULATIVE, Record
from jup2kub.analyse.world import World
from jup2kub.model.facts import Profile
from jup2kub.model.flow import CellFlow, FlowGraph, Names
from jup2kub.model.notebook import Cell, Notebook

KEEPS_LOGS = re.compile(
    r"\b(?!(?:Stream|File|RotatingFile|TimedRotatingFile|Null|add|remove|has)Handler\b)\w*Handler\b"
    r"|addFilter|dictConfig|fileConfig|captureWarnings|setLoggerClass|setLogRecordFactory|makeRecord|\.handlers\b|lastResort"
)
"""Handlers of logs, and hooks, that may do more with a line than write it to a stream or file."""
ToPython = Callable[[str], str | None]


def analyse(
    notebook: Notebook,
    *,
    profile: Profile | None = None,
    mode: str = "hybrid",
    annotations: Annotations | None = None,
    modules: Mapping[str, str] | None = None,
    to_python: ToPython | None = None,
) -> FlowGraph:
    """Return what each code cell reads, makes and does, and the edges that truly order the cells.

    `profile` (facts by profile key) counts in mode `hybrid` only; `modules` are sources of the project folder's modules
    by dotted name; `to_python` transforms the bodies of cell magics (default: as they are). Pure; raises nothing of its own.
    """
    world = World(annotations or load(), modules or {})
    facts_of = profile if profile and mode == "hybrid" else {}
    world.counts = {number: c.index for number, c in enumerate(notebook.code, 1)}
    world.lists_subclasses = any("__subclasses__" in c.source for c in notebook.code)
    world.asks_decimal_flags = any("decimal" in c.source for c in notebook.code) and any(
        ".flags" in c.source for c in notebook.code
    )
    texts = [*(c.source for c in notebook.code), *world.modules.values()]
    world.logs_aside = any(
        KEEPS_LOGS.search(text) for text in texts if "logging" in text or "Handler" in text
    )
    cells: dict[int, CellFlow] = {}
    on_all: dict[int, str] = {}
    joins: list[tuple[int, Names]] = []
    history = keys.History()
    for cell in notebook.code:
        record, tree = _walk(world, cell, to_python or (lambda text: text))
        flow = _lift(world, cell, _flow(world, cell, record, tree is None))
        key = history.add(cell, tree, flow.definitions)
        if key in facts_of:
            flow = observed.apply(world, flow, record, facts_of[key])
        cells[cell.index] = flow
        # A name bound again to the object that it has (`a = a if ok else []`) leaves the cell with all that share it.
        shared = [world.sharing.of(n) for n in sorted(record.assigned) if n[0] != "@"]
        joins += [
            (cell.index, frozenset(n for n in g if n[0] not in "!~&")) for g in [*record.joins, *shared]
        ]
        if record.unresolved and not flow.barrier:
            on_all[cell.index] = min(record.unresolved)
    _regroup(cells, joins, _comparing(notebook, cells))
    _outputs(cells)
    _settings(world, cells)
    return FlowGraph(cells, edges(cells, on_all))


def _walk(world: World, cell: Cell, to_python: ToPython) -> tuple[Record, ast.Module | None]:
    record = Record()
    text = cell.python
    try:
        tree = inline(ast.parse(text), to_python) if text is not None else None
    except (SyntaxError, ValueError, RecursionError):
        tree = None
    if tree is None:
        record.stop("it is not Python that can be parsed")
        return record, None
    walk = CellWalk(world, world.space(""), record)
    if cell.options.barrier:
        record.stop("the cell asks for it (#| barrier)")
    if world.rewritten:
        record.stop("the notebook transforms the text of cells before they run")
    try:
        _run(world, walk, tree, cell)
    except RecursionError:
        record.stop("its text is nested too deeply")
        world.give_up()
    record.bound = walk.bound if not cell.may_raise else set()
    return record, tree


def _run(world: World, walk: CellWalk, tree: ast.Module, cell: Cell) -> None:
    last = last_value(tree, cell.source)
    if cell.may_raise:
        walk.conditional += 1
    walk.block(tree.body[:-1] if last is not None else tree.body)
    if last is None:
        walk.feel_kept()
        return
    walk.discarding, walk.displaying = None, last
    value = walk.expr(last)
    walk.operate(value)
    walk.feel_kept()
    if (
        isinstance(last, ast.Call)
        and isinstance(last.func, ast.Name)
        and last.func.id in ("print", "display")
    ):
        return
    world.outs.append((cell.index, surely_something(value, last) and not cell.may_raise, value))


def _flow(world: World, cell: Cell, record: Record, unparsed: bool) -> CellFlow:
    """Turn the record of a walk into the cell's flow."""
    _generators(world, record)
    _packages(world, record)
    marks = {n: m for n, m in record.marks.items() if n[0] not in "!~&%^"}
    defined = record.assigned & record.bound - record.deleted
    deleted = record.deleted & record.bound
    may = record.assigned - defined - deleted
    changed = frozenset(marks)
    certain = frozenset(n for n, m in marks.items() if CERTAIN in m)
    written = defined | may | changed
    groups = {frozenset(world.sharing.of(n) & written) for n in written}
    heavy = record.loops or record.weight >= 0.3
    return CellFlow(
        index=cell.index,
        reads=frozenset(n for n in record.reads | may | changed if n[0] not in "!~&%^"),
        defines=frozenset(defined),
        may_define=frozenset(may),
        deletes=frozenset(deleted),
        mutates=changed,
        certain=certain,
        definitions=frozenset(record.definitions & (defined | may)),
        groups=tuple(sorted((g for g in groups if len(g) > 1), key=sorted)),
        effects=frozenset(record.effects),
        file_reads=tuple(sorted(record.file_reads)),
        file_writes=tuple(sorted(record.file_writes)),
        barrier=record.barrier,
        guarded=frozenset(record.guarded),
        opaque=tuple(record.opaque),
        unparsed=unparsed,
        loops=heavy,
        weight=record.weight,
    )


def _lift(world: World, cell: Cell, flow: CellFlow) -> CellFlow:
    """Note which definitions of a cell may be made before the rest of it runs."""
    if not flow.definitions or flow.barrier or flow.unparsed or cell.may_raise:
        return flow
    tops = {name.partition(".")[0] for name in world.modules}
    found = lifting.find(cell.python, world.space("").env, world.tables, tops, flow.reads)
    if found is None or not found.names <= flow.definitions:
        return flow
    return replace(flow, lifted=found.names, lifted_lines=found.lines, lifted_reads=found.reads & flow.reads)


def _generators(world: World, record: Record) -> None:
    """A generator that nothing has seeded carries no promise; a seeded one chains the cells that draw."""
    for label in [n for n in set(record.marks) | record.reads if n.startswith("@rng:")]:
        if label not in world.seeded:
            record.marks.pop(label, None)
            record.reads.discard(label)
            if label not in record.assigned:
                record.effects.add("unseeded")
    world.seeded |= {n for n in record.assigned if n.startswith("@rng:")}


def _packages(world: World, record: Record) -> None:
    """Note the settings that the packages in use feel."""
    plots = False
    for package in record.packages:
        feels = world.tables.feels(package)
        known = world.tables.packages.get(package)
        plots = plots or bool(known and known.get("plots"))
        record.reads.update(f"@lib:{p}" for p in (feels if feels is not None else {package, "*"}))
        if feels is None or "pandas" in feels:
            record.reads.add("@options:pandas")
        if feels is None or "matplotlib" in feels or "pandas" in feels:
            record.reads.add("@rc:matplotlib")
    if world.asks_decimal_flags and "decimal" in record.packages:
        record.marks.setdefault("@lib:decimal", set()).add(SPECULATIVE)
    if record.packages:
        record.reads.add("@warnings")
    record.reads.update(f"@lib:{p}" for p in EVERYWHERE)
    if record.file_reads or record.file_writes:
        record.reads.add("@cwd")


def _comparing(notebook: Notebook, cells: Mapping[int, CellFlow]) -> set[int]:
    """Return the cells that ask if two names are one object, or may call a function that does."""
    own = {c.index for c in notebook.code if _compares_identity(c.python)}
    asking = frozenset().union(*(cells[i].definitions for i in own))
    return own | {i for i, cell in cells.items() if cell.reads & asking}


def _compares_identity(text: str | None) -> bool:
    """Whether a cell asks if two names are one object."""
    try:
        nodes = list(ast.walk(ast.parse(text or "")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    tests = [
        n for n in nodes if isinstance(n, ast.Compare) and not isinstance(n.comparators[0], ast.Constant)
    ]
    calls = [n.func for n in nodes if isinstance(n, ast.Call)]
    return any(isinstance(op, (ast.Is, ast.IsNot)) for n in tests for op in n.ops) or any(
        isinstance(f, ast.Name) and f.id == "id" for f in calls
    )


def _regroup(cells: dict[int, CellFlow], joins: list[tuple[int, Names]], compared: set[int]) -> None:
    """Where names that share an object are changed or `compared` later, the cell that made them share makes them all."""
    changes: dict[str, list[int]] = {}
    for index, cell in cells.items():
        for name in cell.mutates:
            if name[0] != "@":
                changes.setdefault(name, []).append(index)
    for index, group in joins:
        later = [n for n in group if n in changes and changes[n][-1] > index]
        cell = cells[index]
        own = frozenset(n for n in group if n[0] != "@")
        seen = any(k > index and len(own & cells[k].reads) > 1 for k in compared)
        if not (later or seen) or len(own) < 2 or not (own & cell.writes):
            continue
        if not seen and not any(
            len(own & (cells[k].mutates | cells[k].defines)) > 1
            for n in later
            for k in changes[n]
            if k > index
        ):
            continue
        added = own - cell.writes
        merged = [g for g in cell.groups if not g & own]
        whole = own.union(*(g for g in cell.groups if g & own))
        cells[index] = replace(
            cell,
            mutates=cell.mutates | added,
            reads=cell.reads | added,
            groups=tuple(sorted([*merged, whole], key=sorted)),
        )


def _outputs(cells: dict[int, CellFlow]) -> None:
    """A cell whose output is used later makes it."""
    used = {n for c in cells.values() for n in c.reads if n.startswith("@out:")}
    for label in used:
        index = int(label.partition(":")[2])
        if index in cells:
            cells[index] = replace(cells[index], defines=cells[index].defines | {label})


def _settings(world: World, cells: dict[int, CellFlow]) -> None:
    """Leave among the reads only resources that some cell writes; `@lib:*` stands for every library."""
    written = {n for c in cells.values() for n in c.writes if n[0] == "@"}
    libraries = frozenset(n for n in written if n.startswith(("@lib:", "@options:", "@rc:")))
    for index, cell in cells.items():
        reads = frozenset(n for n in cell.reads if n[0] != "@" or n in written)
        if "@lib:*" in cell.reads:
            reads |= libraries
        if reads != cell.reads:
            cells[index] = replace(cell, reads=reads)
