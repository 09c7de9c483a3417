"""What to load and what to replay, case by case; the rule for any notebook is in tests/property."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jup2kub.agent.recipe import Op, adoptable, needs, recipe, shippable
from jup2kub.model.plan import PLAN_VERSION, CellEdge, CellPlan, Plan


def plan(*cells: CellPlan, edges: tuple[CellEdge, ...] = ()) -> Plan:
    return Plan(PLAN_VERSION, "static", 1, "", cells, (), (), (), edges, ())


def cell(index: int, reads: str = "", defines: str = "", **more: str) -> CellPlan:
    sets = {key: frozenset(value.split()) for key, value in more.items()}
    return CellPlan(index, frozenset(reads.split()), frozenset(defines.split()), **sets)  # type: ignore[arg-type]


def test_the_last_writer_before_the_reader_counts() -> None:
    found = needs(
        plan(
            cell(0, defines="a"),
            cell(1, "a", "b"),
            cell(3, "a", mutates="a"),
            cell(4, "a b"),
            cell(5, defines="a"),
        )
    )
    assert found == {1: ((0, "a"),), 3: ((0, "a"),), 4: ((1, "b"), (3, "a"))}


def test_files_are_in_the_folder_and_barriers_stand_for_everything() -> None:
    edges = (CellEdge(0, 1, "J2K150", "exec"), CellEdge(0, 2, "J2K130", "@file:x"))
    found = needs(plan(cell(0, defines="@file:x"), cell(1, "@file:x"), cell(2, "@file:x"), edges=edges))
    assert found == {1: ((0, "exec"),)}


def test_what_is_kept_is_loaded_and_the_rest_is_made_again_with_all_it_needs() -> None:
    reads = {1: ((0, "a"),), 2: ((1, "b"), (0, "a")), 3: ((2, "c"), (1, "b"))}
    kept = {(1, "b")}
    assert recipe([3], reads, lambda c, n: (c, n) in kept) == (Op(0), Op(1, frozenset("b")), Op(2))


def test_a_cell_that_is_replayed_for_one_name_is_not_loaded_for_another() -> None:
    reads = {2: ((0, "a"), (0, "f"))}
    assert recipe([2], reads, lambda c, n: n == "a") == (Op(0),)


def test_definitions_that_a_value_refers_to_are_replayed() -> None:
    reads = {1: ((0, "m"),), 3: ((2, "x"),)}
    acts = recipe([3], reads, lambda c, n: n == "x", lambda c, n: [1])
    assert acts == (Op(0), Op(1), Op(2, frozenset("x")))


def test_what_the_kernel_has_is_left_alone() -> None:
    reads = {2: ((0, "a"), (1, "b"))}
    assert recipe([2], reads, lambda c, n: True, has=lambda c, n: n == "a") == (Op(1, frozenset("b")),)


@pytest.mark.parametrize(
    ("name", "can"),
    [("df", True), ("@rng:numpy", True), ("@cwd", True), ("@lib:sklearn", False), ("@out", False)],
)
def test_what_can_be_stored(name: str, can: bool) -> None:
    assert shippable(name) is can
    assert adoptable(frozenset({name, "@file:x"})) is can


def split_plan() -> Plan:
    heavy = cell(2, "n g", "x f", definitions="f")
    heavy = replace(heavy, lifted=frozenset("f"), lifted_lines=(1,), lifted_reads=frozenset("n"))
    return plan(cell(0, defines="n"), cell(1, defines="g"), heavy, cell(3, "f"), cell(4, "f x"))


def test_a_definition_is_made_from_its_own_lines_with_only_what_these_read() -> None:
    reads = needs(split_plan())
    assert recipe([3], reads, lambda c, n: False) == (Op(0), Op(2, frozenset("f"), define=True))


def test_a_value_that_refers_to_definitions_of_its_own_cell_is_loaded_after_them() -> None:
    acts = recipe([4], needs(split_plan()), lambda c, n: n == "x", lambda c, n: [2])
    assert acts == (Op(0), Op(2, frozenset("f"), define=True), Op(2, frozenset("x")))


def test_a_cell_that_is_replayed_whole_makes_its_definitions_itself() -> None:
    assert recipe([4], needs(split_plan()), lambda c, n: False) == (Op(0), Op(1), Op(2))
