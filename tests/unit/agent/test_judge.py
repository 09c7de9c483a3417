"""What a cell that ran apart did beyond its plan."""

from __future__ import annotations

import pytest

from jup2kub.agent.judge import beyond, judge, listed, plain, resident
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan

CELL = CellPlan(4, reads=frozenset({"a"}), defines=frozenset({"x"}), file_writes=("out.txt",))
ONE = frozenset({"y"})


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (Facts(bound=frozenset({"x"})), ""),
        (Facts(bound=frozenset({"x", "y"})), "y"),
        (Facts(deleted=ONE), "y"),
        (Facts(mutated=frozenset({"a"})), "a"),
        (Facts(mutated=frozenset({"x"}), aliases=(frozenset({"x", "view"}),)), "view"),
        (Facts(mutated=frozenset({"a"}), aliases=(frozenset({"b", "c"}),)), "a"),
        (Facts(mutated=frozenset({"@rng:numpy", "@lib:sk"})), "@lib:sk @rng:numpy"),
        (Facts(bound=frozenset({"_", "_4", "_i", "_i12", "Out", "In"})), ""),
        (Facts(bound=frozenset({"_private"})), "_private"),
    ],
)
def test_versions_beyond_the_plan(facts: Facts, names: str) -> None:
    assert sorted(beyond(CELL, facts)) == names.split()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(), None),
        (Facts(bound=ONE, mutated=frozenset({"a", "@env"})), None),
        (Facts(mutated=frozenset({"@lib:sk"})), "@lib:sk"),
        (Facts(files_written=("out.txt",)), None),
        (Facts(files_written=("out.txt", "other.txt")), "other.txt"),
        (Facts(sticky="a thread (t)"), "left something running: a thread"),
    ],
)
def test_what_nothing_can_mend(facts: Facts, reason: str | None) -> None:
    wrong = judge(CELL, facts)
    assert (wrong is None) == (reason is None)
    if wrong is not None and reason is not None:
        assert reason in wrong.reason
        assert wrong.cell == 4
        assert wrong.facts.mispredicted, "what was found is kept for ever"


def test_state_that_cannot_be_saved_stays_in_the_kernel_of_the_cell() -> None:
    cell = CellPlan(
        4, defines=frozenset({"x"}), mutates=frozenset({"@lib:sk", "@rng:numpy", "@file:out.txt"})
    )
    assert set(resident(cell, Facts(mutated=frozenset({"@out:4", "y"})))) == {"@lib:sk", "@out:4"}


def test_a_cell_that_may_write_anywhere_surprises_with_no_file() -> None:
    assert judge(CellPlan(0, file_writes=("*",)), Facts(files_written=("x", "y"))) is None


def test_names_of_the_notebook_are_told_from_the_kernels() -> None:
    names = ["a", "_", "__", "_1", "_i", "_i3", "_ii", "_oh", "exit", "@env", "_x", "_i_", "__all__"]
    assert plain(names) == {"a", "_x", "_i_", "__all__"}


def test_long_lists_are_cut() -> None:
    assert listed("dcba") == "a, b, c, d"
    assert listed("edcba") == "a, b, c, d …"
