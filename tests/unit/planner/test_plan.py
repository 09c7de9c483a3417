"""What leaves the main line, and what each plan promises; one rule a test."""

from __future__ import annotations

import json
import time

import pytest
from flows import cell, heavy, notebook

from jup2kub.errors import UsageError
from jup2kub.kit.canon import from_json, to_json
from jup2kub.model.facts import Facts
from jup2kub.model.flow import CellFlow, FlowGraph
from jup2kub.model.notebook import MapOption, Notebook, Options
from jup2kub.model.plan import Decision, MapLoop, Plan
from jup2kub.planner import Costs, plan

MB = 1_000_000


def planned(
    *flows: CellFlow,
    options: dict[int, Options] | None = None,
    sources: dict[int, str] | None = None,
    **more: object,
) -> Plan:
    book, graph = notebook(*flows, options=options, sources=sources)
    return plan(book, graph, **more)  # type: ignore[arg-type]


def left(found: Plan) -> list[tuple[int, ...]]:
    return [s.cells for s in found.steps if s.kind == "cells"]


def why(found: Plan, index: int) -> str:
    return next(
        d.rule for d in found.decisions if d.cells == (index,) and d.rule.startswith(("J2K30", "J2K31"))
    )


def facts(seconds: float, **sizes: int) -> Facts:
    return Facts(seconds=seconds, sizes=sizes)


def test_of_two_independent_heavy_cells_one_leaves() -> None:
    found = planned(heavy("", "a"), heavy("", "b"), cell("a b", "c"))
    assert left(found) == [(0,)]
    assert found.main == (1, 2)
    assert 4 < found.makespan < 4.2
    assert found.serial == 8


@pytest.mark.parametrize(
    "flows",
    [
        (cell("", "a"), cell("a", "b")),
        (heavy("", "a"),),
        (heavy("", "a"), heavy("a", "b"), heavy("b", "c")),
        (heavy("", "a"), cell("a", "b"), heavy("b", "c")),
        (heavy("", "a"), cell("a", barrier="exec"), heavy("", "b")),
    ],
    ids=["trivial", "one", "serial", "serial through a quick cell", "barrier"],
)
def test_what_is_serial_or_trivial_never_leaves(flows: tuple[CellFlow, ...]) -> None:
    found = planned(*flows)
    assert left(found) == []
    assert found.makespan == found.serial


def test_a_chain_leaves_as_one_step() -> None:
    found = planned(heavy("", "a"), heavy("a", "b"), heavy("", "c"), heavy("c", "d"), cell("b d", "e"))
    assert left(found) == [(0, 1)]


def test_a_quick_look_at_a_result_leaves_with_it_so_that_main_goes_on() -> None:
    assert left(planned(heavy("", "a"), cell("a"), heavy("", "b"), cell("b"))) == [(0, 1)]


def test_a_fork_of_the_graph_leaves_one_branch_in_main() -> None:
    found = planned(heavy("", "a"), heavy("a", "b"), heavy("a", "c"), cell("b c", "d"))
    assert left(found) == [(1,)]
    assert dict(found.steps[0].loads) == {"a": 0}


def test_one_worker_never_pays() -> None:
    assert left(planned(heavy("", "a"), heavy("", "b"), workers=1)) == []


def test_all_workers_are_used_and_the_last_heavy_cell_stays() -> None:
    found = planned(*(heavy("", n) for n in "abcd"), workers=4)
    assert left(found) == [(0,), (1,), (2,)]
    assert found.makespan < 4.3


def test_a_fresh_kernel_costs_more_than_a_fork() -> None:
    flows = (heavy("", "a", 0.9), heavy("", "b", 0.9))
    assert left(planned(*flows, fork=True)) == [(0,)]
    assert left(planned(*flows, fork=False)) == []


def test_the_smaller_return_leaves() -> None:
    profile = {"k0": facts(30, a=900 * MB), "k1": facts(30, b=1000)}
    book, graph = notebook(heavy("", "a"), heavy("", "b"))
    keys = {0: "k0", 1: "k1"}
    assert left(plan(book, graph, profile=profile, keys=keys, costs=Costs(ahead=True))) == [(1,)]
    # An engine that starts a step only when main has reached it gains nothing from the later one.
    assert left(plan(book, graph, profile=profile, keys=keys)) == [(0,)]


@pytest.mark.parametrize(
    "effect", ["network", "process", "device", "outside", "input", "threads", "shell", "benchmark"]
)
def test_effects_stay_in_main_and_wait(effect: str) -> None:
    found = planned(heavy("", "a", effects=frozenset({effect})), heavy("", "b"), heavy("", "c"))
    assert (0,) not in left(found)
    assert why(found, 0) == "J2K302"
    assert found.cells[0].waits_all


@pytest.mark.parametrize("effect", ["clock", "unseeded"])
def test_a_look_at_the_clock_may_leave_but_is_not_repeated(effect: str) -> None:
    found = planned(heavy("", "a", effects=frozenset({effect})), heavy("", "b"))
    assert left(found) == [(0,)]
    assert not found.cells[0].repeatable
    assert found.cells[0].waits_all is None


@pytest.mark.parametrize(
    ("flow", "rule"),
    [
        (heavy("", "a @lib:sklearn"), "J2K304"),
        (heavy("", "a @mod:utils"), "J2K304"),
        (heavy("@out", "a"), "J2K305"),
        (heavy("", "a", file_writes=("*",)), "J2K306"),
        (heavy("", "a f", definitions=frozenset({"f"})), "J2K307"),
        (heavy("", "a", barrier="it runs text as code"), "J2K301"),
        (heavy("", "a", unparsed=True), "J2K301"),
    ],
)
def test_what_may_not_leave_says_why(flow: CellFlow, rule: str) -> None:
    found = planned(flow, heavy("", "b"), heavy("", "c"), sources={0: "def f(): pass\na = 1"})
    assert (0,) not in left(found)
    assert why(found, 0) == rule
    assert all(d.text for d in found.decisions)


def test_an_import_in_a_heavy_cell_does_not_hold_it() -> None:
    flow = heavy("", "a np", definitions=frozenset({"np"}))
    assert left(planned(flow, heavy("", "b"), sources={0: "import numpy as np\na = np.work()"})) == [(0,)]


def test_a_cell_of_definitions_only_is_never_heavy() -> None:
    found = planned(
        heavy("", "f", definitions=frozenset({"f"})), heavy("", "b"), sources={0: "def f(): pass"}
    )
    assert not found.cells[0].heavy
    assert found.cells[0].repeatable


@pytest.mark.parametrize(
    "known", [Facts(seconds=4, unshippable={"a": "an open file"}), Facts(seconds=4, sticky="a thread")]
)
def test_what_the_profile_knows_keeps_a_cell_in_main(known: Facts) -> None:
    book, graph = notebook(heavy("", "a"), heavy("", "b"), heavy("", "c"))
    found = plan(book, graph, profile={"k": known}, keys={0: "k"})
    assert (0,) not in left(found)
    assert left(plan(book, graph, profile={"k": known}, keys={0: "k"}, mode="static")) == [(0,)]


def test_big_objects_are_not_changed_elsewhere_until_it_was_timed() -> None:
    book, graph = notebook(cell("", "x"), heavy("", "", mutates="x"), heavy("", "b"))
    big = {"k0": facts(0.1, x=500 * MB)}
    found = plan(book, graph, profile=big, keys={0: "k0", 1: "k1"})
    assert (1,) not in left(found)
    assert why(found, 1) == "J2K310"
    timed = {**big, "k1": facts(60, x=500 * MB), "k2": facts(60, b=8)}
    assert left(plan(book, graph, profile=timed, keys={0: "k0", 1: "k1", 2: "k2"}))


def test_heavy_is_ten_times_the_cost_of_moving() -> None:
    book, graph = notebook(cell("", "x"), cell("x", "y"))
    for seconds, expected in ((0.1, False), (5.0, False), (20.0, True)):
        profile = {"k0": facts(0, x=1000 * MB), "k1": facts(seconds, y=8)}
        assert plan(book, graph, profile=profile, keys={0: "k0", 1: "k1"}).cells[1].heavy is expected, seconds


def test_a_first_run_presumes_from_the_text() -> None:
    found = planned(cell("", "a", loops=True), cell("", "b", weight=0.1), cell("", "c", weight=2.0))
    assert [(c.heavy, c.seconds) for c in found.cells] == [(True, 1.0), (False, 0.1), (True, 2.0)]


def test_a_file_under_an_unknown_name_orders_what_leaves_after_it() -> None:
    found = planned(cell("", "p", file_writes=("*",)), heavy("", "a"), heavy("", "b"))
    assert left(found) == [(1,)]
    assert found.cells[1].before == (0,)


def test_replays_are_the_cheap_cells_it_needs_and_those_that_configure() -> None:
    found = planned(
        cell("", "np", definitions=frozenset({"np"})),
        cell("np", "@rc:matplotlib"),
        cell("np", "x"),
        cell("", "unused"),
        cell("", "t", effects=frozenset({"clock"})),
        heavy("x t", "a"),
        heavy("x", "b"),
    )
    step = found.steps[0]
    assert step.cells == (5,)
    assert step.replays == (0, 1, 2)
    assert dict(step.loads) == {"t": 4}


def test_what_configures_with_a_heavy_value_does_not_tie_an_independent_step() -> None:
    found = planned(heavy("", "a"), cell("a", "@rc:matplotlib"), heavy("", "b"), heavy("", "c"))
    assert all("a" not in s.loads for s in found.steps)


def test_two_versions_of_a_name_need_a_fork() -> None:
    flows = (
        heavy("", "x"),
        cell("x", "old"),
        heavy("", "x"),
        heavy("old x", "a"),
        heavy("", "b"),
        heavy("", "c"),
    )
    found = planned(*flows, workers=4, offload="all")
    step = next(s for s in found.steps if s.cells == (3,))
    assert "two versions" in step.fork_only
    alone = planned(*flows, workers=4, offload="all", fork=False)
    assert (3,) not in left(alone)
    assert why(alone, 3) == "J2K313"


def test_outputs_travel_in_groups_and_carry_ambient_state() -> None:
    group = (frozenset({"a", "b"}),)
    found = planned(
        heavy("@rng:numpy", "a b c @rng:numpy tmp", groups=group, deletes=frozenset({"tmp"})), heavy("", "d")
    )
    assert found.steps[0].outputs == (frozenset({"@rng:numpy"}), frozenset({"a", "b"}), frozenset({"c"}))


def test_steps_by_name_are_one_step_whatever_they_cost() -> None:
    named = {0: Options(step="prep"), 1: Options(step="prep")}
    found = planned(cell("", "a"), cell("a", "b"), cell("b", "c"), options=named)
    assert [(s.id, s.cells) for s in found.steps] == [("prep", (0, 1))]


def test_a_cell_between_that_depends_on_both_sides_is_refused() -> None:
    named = {0: Options(step="s"), 2: Options(step="s")}
    with pytest.raises(UsageError) as refused:
        planned(heavy("", "a"), cell("a", "b", effects=frozenset({"clock"})), heavy("b", "c"), options=named)
    assert refused.value.code == "J2K351"
    assert "cell 1" in str(refused.value)


def test_the_users_name_allows_effects_but_no_barrier() -> None:
    named = {0: Options(step="get")}
    assert left(planned(cell("", "a", effects=frozenset({"network"})), options=named)) == [(0,)]
    found = planned(cell("", "a", barrier="exec"), options=named)
    assert left(found) == []
    assert why(found, 0) == "J2K301"


def test_a_barrier_option_waits_and_stays() -> None:
    found = planned(heavy("", "a"), heavy("", "b"), options={0: Options(barrier=True)})
    assert left(found) == []
    assert found.cells[0].barrier


def test_all_makes_a_step_of_every_cell_that_may_leave() -> None:
    imports = cell("", "np", definitions=frozenset({"np"}))
    found = planned(
        imports, cell("np", "x"), cell("x", "y"), cell("y", effects=frozenset({"shell"})), offload="all"
    )
    assert left(found) == [(1,), (2,)]
    assert why(found, 0) == "J2K312"


@pytest.mark.parametrize("how", [{"offload": "none"}, {"mode": "serial"}])
def test_nothing_leaves_when_asked(how: dict[str, str]) -> None:
    found = planned(heavy("", "a"), heavy("", "b"), options={0: Options(step="s")}, **how)
    assert found.steps == ()
    assert found.main == (0, 1)


def test_guarded_reads_wait_only_for_names_that_steps_make() -> None:
    look = cell("a", guarded=frozenset({"a"}))
    found = planned(heavy("", "a"), heavy("", "b"), look, heavy("", "c"))
    assert found.cells[2].waits_all or 2 not in found.main
    assert planned(cell("", "a"), look).cells[1].waits_all is None


def test_an_unresolved_call_waits_in_main_and_follows_all_heavy_cells_as_a_step() -> None:
    found = planned(heavy("", "a"), heavy("", "b", opaque=("plugin.run",)), heavy("", "c"))
    assert found.cells[1].waits_all
    assert all(s.cells != (1,) or 0 in found.cells[1].before for s in found.steps)


def test_a_map_that_was_asked_for_is_a_step_or_an_error() -> None:
    asked = {0: Options(map=MapOption())}
    loop = MapLoop(0, 1, asked=True)
    found = planned(heavy("", "a"), options=asked, loops=(loop,))
    assert [(s.id, s.kind) for s in found.steps] == [("map-0", "map")]
    assert found.main == (0,)
    assert found.cells[0].loops == (loop,)
    why_not = Decision(
        "J2K160", (0,), "`total` is carried from one iteration to the next", "collect, then sum"
    )
    with pytest.raises(UsageError) as refused:
        planned(heavy("", "a"), options=asked, loop_decisions=(why_not,))
    assert "carried" in str(refused.value)
    assert refused.value.hint == "collect, then sum"


def test_a_loop_that_the_profile_knows_to_pay_is_spread() -> None:
    book, graph = notebook(heavy("", "a"))
    profile = {"k": Facts(seconds=9, loops={"1": 8.0})}
    found = plan(book, graph, profile=profile, keys={0: "k"}, loops=(MapLoop(0, 1),))
    assert [s.id for s in found.steps] == ["map-0"]


def test_options_reach_the_cells() -> None:
    wish = Options(cpu=2, memory=7, gpu=1, timeout=3.0, retries=4, cache=False)
    got = planned(cell("", "a"), options={0: wish}).cells[0]
    assert (got.cpu, got.memory, got.gpu, got.timeout, got.retries, got.cache) == (2, 7, 1, 3.0, 4, False)


def test_another_language_runs_in_main() -> None:
    book, graph = notebook(heavy("", "a"), heavy("", "b"))
    other = type(book)(book.cells, "ir", "R", {})
    assert plan(other, graph).steps == ()


def test_a_cell_that_the_analysis_does_not_know_is_a_barrier() -> None:
    book, graph = notebook(cell("", "a"), cell("a", "b"))
    found = plan(book, type(graph)({0: graph.cells[0]}, ()))
    assert found.cells[1].barrier


def test_a_plan_is_json_and_comes_back() -> None:
    found = planned(cell("", "x"), heavy("x", "a"), heavy("x", "b"), cell("a b", "c"))
    assert from_json(Plan, json.loads(json.dumps(to_json(found)))) == found


@pytest.mark.parametrize("bad", [{"mode": "fast"}, {"offload": "some"}])
def test_unknown_modes_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        planned(cell("", "a"), **bad)


def test_dear_steps_stay() -> None:
    flows = (heavy("", "a"), heavy("", "b"))
    assert left(planned(*flows, costs=Costs(dispatch_seconds=30))) == []


def _seconds(book: Notebook, graph: FlowGraph) -> float:
    """Return the processor's time for one plan; of several the least counts, for other work slows some of them."""
    start = time.process_time()
    plan(book, graph, workers=8)
    return time.process_time() - start


@pytest.mark.parametrize("shape", ["chain", "wide", "mixed"])
def test_a_thousand_cells_are_planned_in_half_a_second(shape: str) -> None:
    def at(i: int) -> CellFlow:
        if shape == "chain":
            return heavy(f"v{i - 1}" if i else "", f"v{i}")
        if shape == "wide":
            return heavy("", f"v{i}")
        return (heavy if i % 3 == 0 else cell)(f"v{i * 7 % (i or 1)} v{i // 2}" if i > 1 else "", f"v{i}")

    book, graph = notebook(*(at(i) for i in range(1000)))
    assert min(_seconds(book, graph) for _ in range(3)) < 0.5


def test_what_a_copy_of_a_kernel_adds_is_known_apart_from_what_it_shares() -> None:
    known = Facts(seconds=3.0, peak_bytes=900 * MB, grown_bytes=100 * MB)
    flows = (heavy("", "a"), heavy("", "b"))
    found = planned(*flows, profile={"k": known}, keys={0: "k"})
    assert (found.cells[0].memory, found.cells[0].growth) == (900 * MB, 100 * MB)
    stated = planned(*flows, profile={"k": known}, keys={0: "k"}, options={0: Options(memory=7 * MB)})
    assert (stated.cells[0].memory, stated.cells[0].growth) == (7 * MB, None)
