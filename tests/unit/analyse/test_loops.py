"""Which loops may be map steps, and what the others are told."""

from __future__ import annotations

import textwrap

import pytest

from jup2kub.analyse import loops
from jup2kub.ipynb import to_python
from jup2kub.model.notebook import Cell, MapOption, Notebook, Options
from jup2kub.model.plan import Decision, MapLoop


def notebook(*cells: str, asked: bool = False) -> Notebook:
    options = Options(map=MapOption(chunks=4)) if asked else Options()
    made = tuple(
        Cell(i, f"c{i}", "code", text, options=options, python=text)
        for i, text in enumerate(textwrap.dedent(c).strip() + "\n" for c in cells)
    )
    return Notebook(made, "python3", "python", {})


def find(*cells: str, asked: bool = False) -> tuple[tuple[MapLoop, ...], tuple[Decision, ...]]:
    return loops.find(notebook(*cells, asked=asked))


ACCEPTED = {
    "append": ("out.append(f(x))", {"out": "log"}),
    "item": ("d[x] = f(x)", {"d": "log"}),
    "two levels": ("d[x]['a'] = f(x)", {"d": "log"}),
    "sum": ("total += f(x)", {"total": "log"}),
    "sum spelt out": ("total = total + f(x)", {"total": "log"}),
    "count": ("counts[f(x)] += 1", {"counts": "log"}),
    "groups": ("groups.setdefault(x % 3, []).append(f(x))", {"groups": "log"}),
    "set": ("seen.add(f(x))", {"seen": "log"}),
    "max": ("best = max(best, f(x))", {"best": "max"}),
    "arg-max": ("s = f(x)\nif s > best:\n    best, arg = s, x", {"best": "best"}),
    "arg-max from None": (
        "s = f(x)\nif best is None or s < best:\n    best = s\n    arg = x",
        {"best": "best"},
    ),
    "nothing": ("f(x)", {}),
    "element": ("x.fit(f)", {}),
    "private": ("y = f(x)\nz = y + 1\nout.append(z)", {"out": "log"}),
    "continue": ("if f(x):\n    continue\nout.append(x)", {"out": "log"}),
    "handler assigns": ("try:\n    y = f(x)\nexcept ValueError:\n    y = 0\nout.append(y)", {"out": "log"}),
    "own dictionary": ("row = {}\nrow['a'] = f(x)\nrow.update(b=1)\nout.append(row)", {"out": "log"}),
    "inner break": ("for k in f(x):\n    if k:\n        break", {}),
    "with inside": ("with open(f'{x}.txt', 'w') as h:\n    h.write(str(f(x)))", {}),
}


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_independent_loops_are_found(case: str) -> None:
    body, carried = ACCEPTED[case]
    found, decisions = find("for x in xs:\n" + textwrap.indent(body, "    "))
    assert not decisions
    assert {c.name: c.kind for c in found[0].carried} == carried


REFUSED = {
    "break": ("if f(x): break", "J2K361", "break"),
    "previous value": ("y = f(prev)\nprev = x", "J2K364", "prev"),
    "handler forgets": ("try:\n    y = f(x)\nexcept ValueError:\n    pass\nout.append(y)", "J2K364", "y"),
    "read while carried": ("out.append(f(x))\nprint(len(out))", "J2K364", "out"),
    "carried and reset": ("total += f(x)\nif x: total = 0", "J2K364", "total"),
    "shared object": ("model.fit(f(x))", "J2K365", "model"),
    "shared attribute": ("state.n = f(x)", "J2K365", "state"),
    "deleted": ("y = f(x)\ndel y", "J2K364", "y"),
    "branch with effects": ("s = f(x)\nif s > best:\n    best = s\n    print(s)", "J2K364", "best"),
    "two ways": ("best = max(best, f(x))\nbest = min(best, 9)", "J2K364", "best"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_chained_loop_is_refused_by_name_and_line(case: str) -> None:
    body, rule, name = REFUSED[case]
    found, decisions = find("for x in xs:\n" + textwrap.indent(body, "    "))
    assert not found
    assert decisions[0].rule == rule
    assert name in decisions[0].text
    assert "line" in decisions[0].text
    assert decisions[0].hint


def test_loops_in_functions_are_found_and_return_is_refused() -> None:
    found, decisions = find(
        """
        def scan(xs):
            out = []
            for x in xs:
                out.append(slow(x))
            return out

        def first(xs):
            for x in xs:
                if slow(x):
                    return x
        """
    )
    assert [(m.function, m.line) for m in found] == [("scan", 3)]
    assert [d.rule for d in decisions] == ["J2K361"]


def test_comprehensions_with_costly_bodies_are_found() -> None:
    found, _ = find("a = [f(x) for x in xs if x]\nb = {x: f(x) for x in xs}\nc = [str(x) for x in xs]\n")
    assert [(m.kind, m.line, m.column) for m in found] == [("list", 1, 4), ("dict", 2, 4)]


def test_a_seeded_global_generator_is_refused_with_its_fix() -> None:
    draws = "import numpy as np\ndef noise(n): return np.random.normal(size=n)"
    loop = "for x in xs:\n    out.append(noise(x))"
    assert find(draws, loop)[0]
    found, decisions = find(draws, "np.random.seed(0)", loop)
    assert not found
    assert decisions[0].rule == "J2K366"
    assert "SeedSequence" in decisions[0].hint


def test_a_seeded_generator_object_is_refused() -> None:
    found, decisions = find("rng = np.random.default_rng(0)", "for x in xs:\n    out.append(rng.normal(x))")
    assert not found
    assert decisions[0].rule == "J2K366"


@pytest.mark.parametrize(
    ("maker", "chains"),
    [
        ("def draw(s):\n    r = random.Random(s)\n    return [r.random() for _ in range(9)]", False),
        ("def draw(s):\n    rng = np.random.default_rng(s)\n    return rng.normal(size=9)", False),
        ("def draw(s):\n    rng = np.random.default_rng(rng)\n    return rng.normal(size=9)", True),
        ("def draw(s, rng=rng):\n    return rng.normal(size=9)", True),
        ("def draw(s):\n    global rng\n    rng = np.random.default_rng(3)\n    return rng.normal()", True),
        (
            "def draw(s):\n    rng = np.random.default_rng(s)\n    if s: rng = shared\n    return rng.normal()",
            True,
        ),
        ("def draw(s):\n    r = np.random.default_rng(s)\n    return r.normal() + rng.normal()", True),
    ],
)
def test_a_generator_that_a_function_makes_for_one_call_chains_nothing(maker: str, chains: bool) -> None:
    setting = "import random\nimport numpy as np\nrng = shared = np.random.default_rng(0)"
    found, decisions = find(setting, maker, "out = [draw(s) for s in range(40)]")
    assert [m.cell for m in found if m.cell == 2] == ([] if chains else [2])
    assert [d.rule for d in decisions if d.cells == (2,)] == (["J2K366"] if chains else [])


def test_a_generator_per_iteration_is_fine() -> None:
    found, _ = find(
        "import numpy as np\nnp.random.seed(0)",
        "for s in seeds:\n    rng = np.random.default_rng(s)\n    out.append(rng.normal())",
    )
    assert found


def test_a_function_that_reads_a_carried_name_is_refused() -> None:
    found, decisions = find("def f(x): return len(out)", "for x in xs:\n    out.append(f(x))")
    assert not found
    assert "out" in decisions[0].text


def test_a_loop_inside_with_is_refused_but_loops_beside_it_are_not() -> None:
    found, decisions = find("with lock:\n    for x in xs:\n        f(x)\nfor x in xs:\n    f(x)")
    assert [m.line for m in found] == [4]
    assert [d.rule for d in decisions] == ["J2K363"]


def test_consumed_iterables_are_refused() -> None:
    for source in ("(y for y in ys)", "open('a')", "enumerate(iter(ys))"):
        found, decisions = find(f"for x in {source}:\n    f(x)")
        assert not found
        assert decisions[0].rule == "J2K362"


def test_a_refused_outer_loop_gives_way_to_its_inner_one() -> None:
    found, decisions = find("for e in range(3):\n    w = step(w)\n    for x in xs:\n        out.append(f(x))")
    assert [m.line for m in found] == [3]
    assert decisions


def test_asking_for_the_impossible_is_told() -> None:
    _, decisions = find("for x in xs:\n    y = f(y)", asked=True)
    assert decisions[-1].rule == "J2K360"
    found, _ = find("for x in xs:\n    f(x)", asked=True)
    assert found[0].asked
    assert found[0].chunks == 4


def test_names_an_iteration_may_leave_unassigned_are_listed() -> None:
    found, _ = find("for x in xs:\n    if f(x):\n        last = x\n    y = 1")
    assert found[0].conditional == ("last",)


def test_a_quick_loop_is_taken_if_the_user_asks_and_there_is_no_other() -> None:
    found, decisions = find("for x in xs:\n    out.append(hex(x))", asked=True)
    assert [(m.line, m.asked) for m in found] == [(1, True)]
    assert not decisions
    both, _ = find("ys = [hex(x) for x in xs]\nfor x in xs:\n    f(x)", asked=True)
    assert [m.line for m in both] == [2]


@pytest.mark.parametrize("magic", ["%%time", "%%capture cap"])
def test_the_body_of_a_cell_magic_that_runs_here_is_looked_at(magic: str) -> None:
    source = f"{magic}\nprint()\nfor x in xs:\n    out.append(f(x))\nfor x in xs:\n    t = f(t)\n    u = t"
    cell = Cell(0, "c0", "code", source, options=Options(), python=to_python(source))
    found, decisions = loops.find(Notebook((cell,), "python3", "python", {}), None, to_python)
    assert [m.line for m in found] == [2]  # of what the magic compiles
    assert "line 6" in decisions[0].text


def test_the_body_of_a_magic_that_repeats_it_is_not() -> None:
    source = "%%timeit\nfor x in xs:\n    out.append(f(x))"
    cell = Cell(0, "c0", "code", source, options=Options(), python=to_python(source))
    assert loops.find(Notebook((cell,), "python3", "python", {}), None, to_python)[0] == ()
