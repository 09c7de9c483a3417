"""For random straight notebooks of assignments, changes and branches, the ancestors of a cell suffice."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from jup2kub.analyse import analyse
from jup2kub.model.flow import FlowGraph
from jup2kub.model.notebook import Cell, Notebook

NAMES = ("a", "b", "c", "d")
START = "a = [1]; b = [2]; c = {'k': [3]}; d = 4\ndef add(l, x=0):\n    l.append(x)\n    return l\ndef late():\n    return (a, d)"
name = st.sampled_from(NAMES)
lists = st.sampled_from(("a", "b"))
statement = st.one_of(
    st.builds("{} = {}".format, lists, lists),
    st.builds("{} = list({})".format, lists, lists),
    st.builds("{} = {} + [5]".format, lists, lists),
    st.builds("{}.append(len({}))".format, lists, name.filter(lambda n: n != "d")),
    st.builds("add({}, d)".format, lists),
    st.builds("{} = add({})".format, lists, lists),
    st.builds("c['k'] = {}".format, lists),
    st.builds("c['k'].append(d)".format),
    st.builds("{} = c['k']".format, lists),
    st.builds("d += len({})".format, lists),
    st.builds("if d % 2:\n    {} = {}".format, lists, lists),
    st.builds("for {} in ([7], [8]):\n    {}.append(d)".format, lists, lists),
    st.builds("print({})".format, name),
    st.just("print(late())"),
    st.just("d = sum(a[:1]) if isinstance(a[0], int) else 0"),
    st.builds("del {0}[1:]\n{0}[0] = 1".format, lists),
)


def run(cells: list[str], wanted: list[int]) -> tuple[str, dict[str, object]]:
    space: dict[str, object] = {}
    printed = ""
    for index in wanted:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(cells[index], space)
        printed = out.getvalue()
    return printed, {n: space.get(n) for n in NAMES}


def ancestors(graph: FlowGraph, index: int) -> list[int]:
    before = graph.before()
    found: set[int] = set()
    todo = [index]
    while todo:
        for source in before[todo.pop()] - found:
            found.add(source)
            todo.append(source)
    return sorted(found)


@settings(max_examples=300, deadline=None)
@given(st.lists(statement, min_size=1, max_size=9))
def test_ancestors_suffice(statements: list[str]) -> None:
    cells = [START, *statements]
    notebook = Notebook(
        tuple(Cell(i, str(i), "code", s, python=s) for i, s in enumerate(cells)), "python3", "python", {}
    )
    graph = analyse(notebook)
    for index, cell in graph.cells.items():
        printed, space = run(cells, [*ancestors(graph, index), index])
        expected, whole = run(cells, list(range(index + 1)))
        assert printed == expected
        for written in cell.writes & set(NAMES):
            assert space[written] == whole[written], written
        for reading in cell.reads & set(NAMES):
            assert space[reading] == whole[reading], reading
