"""The pure parts of the run side over any notebook: recipes give every cell its versions, keys follow ancestors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jup2kub.agent.judge import beyond
from jup2kub.agent.keys import Keys
from jup2kub.agent.recipe import needs, recipe
from jup2kub.kit.graph import closure
from jup2kub.model.facts import Facts
from jup2kub.model.plan import PLAN_VERSION, CellEdge, CellPlan, Plan

NAMES = st.frozensets(st.sampled_from(["a", "b", "c", "@rng:numpy", "@env"]), max_size=3)
CELLS = st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), min_size=1, max_size=9)
Namespace = dict[str, Any]


def planned(drawn: list[tuple[frozenset[str], ...]]) -> Plan:
    """Return the plan of cells (reads, defines, mutates, deletes) with an edge for every read of a version."""
    cells: list[CellPlan] = []
    edges: list[CellEdge] = []
    last: dict[str, int] = {}
    for index, (reads, defines, mutates, deletes) in enumerate(drawn):
        gone = frozenset(n for n in deletes - defines - mutates if not n.startswith("@"))
        cell = CellPlan(index, reads | mutates | gone, defines - mutates, mutates=mutates, deletes=gone)
        cells.append(cell)
        edges += [CellEdge(last[n], index, "J2K101", n) for n in sorted(cell.reads) if n in last]
        last.update(dict.fromkeys(cell.writes, index))
    main = tuple(range(len(cells)))
    return Plan(PLAN_VERSION, "static", 2, "", tuple(cells), main, (), (), tuple(edges), ())


def ran(cell: CellPlan, space: Namespace) -> Namespace:
    """Return the namespace after the cell: each version tells the cell and everything it was made from."""
    seen = tuple((n, space.get(n)) for n in sorted(cell.reads))
    made = {n: (cell.index, n, seen) for n in cell.writes - cell.deletes}
    return {**{n: v for n, v in space.items() if n not in cell.deletes}, **made}


@settings(max_examples=300, deadline=None)
@given(CELLS, st.data())
def test_a_recipe_gives_every_target_the_versions_it_reads(
    drawn: list[tuple[frozenset[str], ...]], data: st.DataObject
) -> None:
    plan = planned(drawn)
    after: list[Namespace] = [{}]
    for cell in plan.cells:
        after.append(ran(cell, after[-1]))
    versions = sorted((c.index, n) for c in plan.cells for n in c.writes - c.deletes)
    kept = data.draw(st.sets(st.sampled_from(versions) if versions else st.nothing()))
    targets = data.draw(st.sets(st.sampled_from(range(len(plan.cells))), min_size=1))

    ops = recipe(targets, needs(plan), lambda cell, name: (cell, name) in kept)

    assert [op.cell for op in ops] == sorted({op.cell for op in ops}), "in notebook order, each cell once"
    acts = {op.cell: op for op in ops}
    space: Namespace = {}
    for cell in plan.cells:
        op = acts.get(cell.index)
        if cell.index in targets or (op is not None and op.replay):
            true = after[cell.index]
            assert {n: space.get(n) for n in cell.reads} == {n: true.get(n) for n in cell.reads}
            space = ran(cell, space)
        if op is not None and not op.replay:
            assert {(cell.index, n) for n in op.names} <= kept
            space = {**space, **{n: after[cell.index + 1][n] for n in op.names}}


@settings(max_examples=100, deadline=None)
@given(CELLS)
def test_a_recipe_replays_nothing_where_everything_is_kept(drawn: list[tuple[frozenset[str], ...]]) -> None:
    plan = planned([(reads, defines, mutates, frozenset()) for reads, defines, mutates, _ in drawn])
    for cell in plan.cells:
        ops = recipe([cell.index], needs(plan), lambda cell, name: True)
        assert not [op for op in ops if op.replay]
        assert not recipe([cell.index], needs(plan), lambda c, n: True, has=lambda c, n: True)


def keys_of(
    plan: Plan, sources: dict[int, str], world: str = "w", met: dict[int, str] | None = None
) -> list[str]:
    keys = Keys(plan, sources, world)
    for cell, what in (met or {}).items():
        keys.executed(cell, what)
    return [keys.of(c.index) for c in plan.cells]


@settings(max_examples=200, deadline=None)
@given(CELLS, st.data())
def test_a_key_follows_its_ancestors_and_nothing_else(
    drawn: list[tuple[frozenset[str], ...]], data: st.DataObject
) -> None:
    plan = planned(drawn)
    sources = {c.index: f"cell {c.index}" for c in plan.cells}
    before = keys_of(plan, sources)
    changed = data.draw(st.sampled_from(range(len(plan.cells))))
    forward: dict[int, set[int]] = {}
    for edge in plan.cell_edges:
        forward.setdefault(edge.source, set()).add(edge.target)
    after_it = closure([changed], forward)

    edited = keys_of(plan, {**sources, changed: "edited"})
    assert {i for i, key in enumerate(edited) if key != before[i]} == after_it
    met = keys_of(plan, sources, met={changed: "a file"})
    assert {i for i, key in enumerate(met) if key != before[i]} == after_it - {changed}
    assert keys_of(plan, sources, met={changed: ""}) == before, "nothing met is as good as not run"
    other = keys_of(plan, sources, world="another interpreter")
    assert not set(other) & set(before)


@settings(max_examples=200, deadline=None)
@given(CELLS, st.data())
def test_a_result_is_found_again_when_edges_are_known_to_be_needless(
    drawn: list[tuple[frozenset[str], ...]], data: st.DataObject
) -> None:
    """By the key of the text; and an edit of what the plan's own edges do not reach leaves the more precise key."""
    text = planned(drawn)
    sources = {c.index: f"cell {c.index}" for c in text.cells}
    needless = data.draw(st.sets(st.sampled_from(text.cell_edges) if text.cell_edges else st.nothing()))
    pairs = tuple((e.source, e.target) for e in text.cell_edges)
    learned = replace(text, cell_edges=tuple(set(text.cell_edges) - needless), text_edges=pairs)
    first, later = Keys(text, sources, "w"), Keys(learned, sources, "w")
    changed = data.draw(st.sampled_from(range(len(text.cells))))
    edited = Keys(learned, {**sources, changed: "edited"}, "w")
    backward: dict[int, set[int]] = {}
    for edge in learned.cell_edges:
        backward.setdefault(edge.target, set()).add(edge.source)
    for cell in sources:
        assert set(first.all_of(cell)) & set(later.all_of(cell))
        assert later.of(cell) == later.all_of(cell)[0]
        same = bool(set(edited.all_of(cell)) & set(later.all_of(cell)))
        assert same is (changed not in closure([cell], backward))


@settings(max_examples=100, deadline=None)
@given(CELLS, st.integers(1, 3))
def test_a_key_stays_when_unrelated_cells_are_put_before(
    drawn: list[tuple[frozenset[str], ...]], more: int
) -> None:
    plan = planned(drawn)
    sources = {c.index: f"cell {c.index}" for c in plan.cells}
    cells = [replace(c, index=c.index + more) for c in plan.cells]
    edges = [replace(e, source=e.source + more, target=e.target + more) for e in plan.cell_edges]
    first = [CellPlan(i) for i in range(more)]
    moved = replace(plan, cells=(*first, *cells), cell_edges=tuple(edges))
    texts = {**dict.fromkeys(range(more), "pass"), **{i + more: s for i, s in sources.items()}}
    assert keys_of(moved, texts)[more:] == keys_of(plan, sources)


@settings(max_examples=100, deadline=None)
@given(CELLS, st.permutations(range(9)))
def test_a_key_does_not_depend_on_the_order_of_questions(
    drawn: list[tuple[frozenset[str], ...]], order: list[int]
) -> None:
    plan = planned(drawn)
    sources = {c.index: f"cell {c.index}" for c in plan.cells}
    keys = Keys(plan, sources, "w")
    asked = {i: keys.of(i) for i in order if i < len(plan.cells)}
    assert [asked[i] for i in range(len(plan.cells))] == keys_of(plan, sources)


@settings(max_examples=200, deadline=None)
@given(NAMES, NAMES, NAMES, NAMES)
def test_what_is_beyond_the_plan_is_what_was_made_and_not_planned(
    planned_names: frozenset[str], bound: frozenset[str], mutated: frozenset[str], alias: frozenset[str]
) -> None:
    cell = CellPlan(0, defines=planned_names)
    found = beyond(cell, Facts(bound=bound, mutated=mutated, aliases=(alias,)))
    assert not found & cell.writes
    assert {n for n in bound | mutated if not n.startswith("@")} <= found | cell.writes
    assert {n for n in mutated if n.startswith("@")} <= found | cell.writes
    plain_alias = {n for n in alias if not n.startswith("@")}
    assert plain_alias <= found | cell.writes or not plain_alias & mutated
