"""Invariants of plans over any notebook, however cells depend on each other."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from jup2kub.kit.canon import from_json, to_json
from jup2kub.model.flow import CellFlow, Edge, FlowGraph
from jup2kub.model.notebook import Cell, Notebook
from jup2kub.model.plan import Plan
from jup2kub.planner import drawing, explain, page, plan

NAMES = st.frozensets(st.sampled_from("abcd"), max_size=2)
RESOURCES = st.frozensets(st.sampled_from(("@rng:numpy", "@lib:sk", "@env", "@out")), max_size=1)
FLOWS = st.builds(
    CellFlow,
    st.just(0),
    reads=st.one_of(NAMES, NAMES, RESOURCES),
    defines=st.one_of(NAMES, NAMES, RESOURCES),
    mutates=st.one_of(st.just(frozenset()), NAMES),
    effects=st.sampled_from([frozenset()] * 6 + [frozenset({"clock"}), frozenset({"network"})]),
    file_writes=st.sampled_from([()] * 6 + [("f",), ("*",)]),
    barrier=st.sampled_from([None] * 9 + ["exec"]),
    opaque=st.sampled_from([()] * 7 + [("g",)]),
    weight=st.sampled_from((0.0, 0.0, 0.01, 1.0, 4.0)),
)
BOOKS = st.lists(FLOWS, max_size=14)
HOW = st.fixed_dictionaries(
    {"workers": st.integers(1, 4), "offload": st.sampled_from(("auto", "all")), "fork": st.booleans()}
)


def built(flows: list[CellFlow]) -> tuple[Notebook, FlowGraph]:
    """Return a notebook of these cells; every read, barrier and file has its edge."""
    cells, known, edges, last = [], {}, [], {}
    barrier = None
    for i, flow in enumerate(flows):
        reads = flow.reads | flow.mutates
        known[i] = CellFlow(
            i, reads, flow.defines, mutates=flow.mutates, effects=flow.effects, file_writes=flow.file_writes,
            barrier=flow.barrier, opaque=flow.opaque, weight=flow.weight,
        )  # fmt: skip
        edges += [Edge(last[n], i, "J2K101", n) for n in sorted(reads) if n in last]
        edges += [Edge(j, i, "J2K120", "") for j in range(i) if flow.barrier]
        if barrier is not None:
            edges.append(Edge(barrier, i, "J2K120", ""))
        if flow.file_writes:
            edges += [Edge(j, i, "J2K110", "@file:f") for j in range(i) if known[j].file_writes]
        barrier = i if flow.barrier else barrier
        last.update(dict.fromkeys(known[i].writes, i))
        cells.append(Cell(i, str(i), "code", f"x{i} = <{i}> & 'a'", python=f"x{i} = 1"))
    return Notebook(tuple(cells), "", "python", {}), FlowGraph(known, tuple(edges))


@given(BOOKS, HOW)
@settings(max_examples=200, deadline=None)
def test_every_cell_has_one_place_and_every_read_one_source(
    flows: list[CellFlow], how: dict[str, object]
) -> None:
    book, graph = built(flows)
    found = plan(book, graph, **how)  # type: ignore[arg-type]
    gone = [i for s in found.steps for i in s.cells]
    assert sorted([*gone, *found.main]) == list(range(len(flows)))
    heavy = {c.index for c in found.cells if not c.repeatable}
    for step in found.steps:
        assert not set(step.replays) & (heavy | set(step.cells)), "only cheap repeatable cells are replayed"
        assert list(step.replays) == sorted(step.replays)
        assert all(i < step.cells[-1] for i in (*step.replays, *step.loads.values()))
        for i in step.cells:
            _has_all(i, graph, step.cells, step.replays, dict(step.loads), bool(step.fork_only))
        if not how["fork"]:
            assert not step.fork_only


def _has_all(
    index: int,
    graph: FlowGraph,
    own: tuple[int, ...],
    replays: tuple[int, ...],
    loads: dict[str, int],
    fork: bool,
) -> None:
    """Every version that the cell reads is made by its own step, replayed, or loaded from its maker."""
    for edge in graph.edges:
        if edge.target == index and edge.name and not edge.name.startswith(("@file:", "@out")) and not fork:
            assert edge.source in own or edge.source in replays or loads.get(edge.name) == edge.source


@given(BOOKS, HOW)
@settings(max_examples=150, deadline=None)
def test_what_must_stay_stays_and_says_why(flows: list[CellFlow], how: dict[str, object]) -> None:
    book, graph = built(flows)
    found = plan(book, graph, **how)  # type: ignore[arg-type]
    told = {
        d.cells[0] for d in found.decisions if len(d.cells) == 1 and d.rule.startswith(("J2K30", "J2K31"))
    }
    assert told == set(found.main)
    for i, flow in graph.cells.items():
        if flow.barrier or flow.effects - {"clock"} or "@lib:sk" in flow.writes or "*" in flow.file_writes:
            assert i in found.main
    assert all(r.text for e in found.edges for r in e.reasons)
    assert all(s.reason for s in found.steps)


@given(BOOKS, HOW)
@settings(max_examples=150, deadline=None)
def test_a_plan_can_always_be_run_and_is_never_predicted_slower(
    flows: list[CellFlow], how: dict[str, object]
) -> None:
    book, graph = built(flows)
    found = plan(book, graph, **how)  # type: ignore[arg-type]
    assert math.isfinite(found.makespan)
    if how["offload"] == "auto":
        assert found.makespan <= found.serial + 1e-3


@given(BOOKS, HOW)
@settings(max_examples=60, deadline=None)
def test_plans_are_stable_and_come_back_from_json(flows: list[CellFlow], how: dict[str, object]) -> None:
    book, graph = built(flows)
    found = plan(book, graph, **how)  # type: ignore[arg-type]
    assert plan(book, graph, **how) == found  # type: ignore[arg-type]
    assert from_json(Plan, to_json(found)) == found


@given(BOOKS, HOW)
@settings(max_examples=60, deadline=None)
def test_words_and_pictures_of_any_plan_are_well_formed(
    flows: list[CellFlow], how: dict[str, object]
) -> None:
    book, graph = built(flows)
    found = plan(book, graph, **how)  # type: ignore[arg-type]
    text = explain(found, book)
    assert all(f"cell {i}" in text for i in range(len(flows)))
    boxes = ET.fromstring(drawing.svg(found, book)).iter("{http://www.w3.org/2000/svg}g")
    assert len(list(boxes)) == len(flows)
    HTMLParser().feed(page.html(found, book))
    assert drawing.mermaid(found, book).count("subgraph") == 1 + len(found.steps)
