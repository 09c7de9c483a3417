"""A profile removes what it refutes, adds what it saw, and nothing else."""

from __future__ import annotations

from notebooks_as_text import build, transform

from jup2kub.analyse import analyse, profile_keys
from jup2kub.model.facts import Facts
from jup2kub.model.flow import FlowGraph


def analysed(cells: list[str], cell: int, facts: Facts, mode: str = "hybrid") -> FlowGraph:
    notebook = build(*cells)
    keys = profile_keys(notebook, analyse(notebook, to_python=transform))
    return analyse(notebook, profile={keys[cell]: facts}, mode=mode, to_python=transform)


SPECULATIVE = ["import lab\nx = lab.make()", "lab.look(x)", "y = x"]


def test_a_speculative_change_that_the_trace_refutes_is_removed() -> None:
    facts = Facts(unchanged=frozenset({"x", "lab"}))
    assert "x" in analysed(SPECULATIVE, 1, Facts()).cells[1].mutates
    assert "x" not in analysed(SPECULATIVE, 1, facts).cells[1].mutates


def test_static_mode_knows_no_profile() -> None:
    facts = Facts(unchanged=frozenset({"x", "lab"}))
    assert "x" in analysed(SPECULATIVE, 1, facts, "static").cells[1].mutates


def test_a_name_that_was_not_compared_stays() -> None:
    assert "x" in analysed(SPECULATIVE, 1, Facts(unchanged=frozenset({"lab"}))).cells[1].mutates


def test_a_cell_that_raised_or_was_mispredicted_refutes_nothing() -> None:
    for facts in (
        Facts(unchanged=frozenset({"x"}), raised=True),
        Facts(unchanged=frozenset({"x"}), mispredicted=True),
    ):
        assert "x" in analysed(SPECULATIVE, 1, facts).cells[1].mutates


def test_a_conditional_change_is_not_refuted() -> None:
    cells = ["import lab\nx = lab.make(); c = 0", "if c:\n    lab.look(x)", "y = x"]
    assert "x" in analysed(cells, 1, Facts(unchanged=frozenset({"x"}))).cells[1].mutates


def test_what_the_text_states_is_not_refuted() -> None:
    found = analysed(["x = [1]", "x.append(2)", "print(x)"], 1, Facts(unchanged=frozenset({"x"})))
    assert "x" in found.cells[1].mutates


def test_everything_observed_is_added() -> None:
    facts = Facts(
        mutated=frozenset({"a"}),
        bound=frozenset({"hidden"}),
        files_read=("in.csv",),
        files_written=("out.csv",),
        effects=frozenset({"clock"}),
        aliases=(frozenset({"a", "b"}),),
    )
    found = analysed(["a = [1]; b = [2]", "print(a, b)", "print(hidden)"], 1, facts)
    cell = found.cells[1]
    assert {"a"} <= cell.mutates
    assert {"hidden"} <= cell.may_define
    assert cell.file_reads == ("in.csv",)
    assert cell.file_writes == ("out.csv",)
    assert "clock" in cell.effects
    assert (1, 2) in {(e.source, e.target) for e in found.edges}


def test_keys_follow_source_definitions_and_occurrence() -> None:
    def keys(*cells: str) -> dict[int, str]:
        notebook = build(*cells)
        return profile_keys(notebook, analyse(notebook))

    one = keys("def f(): return 1", "f()", "f()", "x = 1")
    two = keys("def f(): return 2", "f()", "f()", "x = 1")
    assert one[1] != one[2]
    assert one[1] != two[1]
    assert one[3] == two[3]


def test_keys_are_the_same_for_the_corrected_graph() -> None:
    notebook = build(*SPECULATIVE)
    keys = profile_keys(notebook, analyse(notebook))
    graph = analyse(notebook, profile={keys[1]: Facts(unchanged=frozenset({"x"}), bound=frozenset({"z"}))})
    assert profile_keys(notebook, graph) == keys
