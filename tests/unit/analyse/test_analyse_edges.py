"""The cells of a notebook are ordered where they must be, and only there."""

from __future__ import annotations

import pytest
from notebooks_as_text import Analyse, ancestors
from snippets import load

SNIPPETS = load()


@pytest.mark.parametrize("name", SNIPPETS)
def test_needed_edges_are_there_and_independent_cells_are_free(name: str, graph: Analyse) -> None:
    needs, free, cells = SNIPPETS[name]
    found = ancestors(graph(*cells))
    assert [pair for pair in needs if pair[0] not in found[pair[1]]] == []
    assert [pair for pair in free if pair[0] in found[pair[1]]] == []


def test_a_cell_that_does_not_parse_is_a_barrier(graph: Analyse) -> None:
    found = graph("a = 1", "b = = 2", "c = 3")
    assert found.cells[1].unparsed
    assert ancestors(found)[1] == {0}
    assert ancestors(found)[2] == {0, 1}


@pytest.mark.parametrize(
    ("iterable", "turns"),
    [
        ("np.linspace(0, 1, 5)", True),
        ("np.arange(4)", True),
        ("enumerate(np.zeros(3))", True),
        ("np.linspace(0, 1, n)", False),
        ("np.arange(0)", False),
        ("np.zeros(*shape)", False),
    ],
)
def test_what_a_loop_over_a_new_array_binds(iterable: str, turns: bool, graph: Analyse) -> None:
    loop = f"out = []\nfor x in {iterable}:\n    r = [x]\n    out.append(r)"
    found = graph("import numpy as np\nn = 0; shape = (0,)", "r = [1]", loop, "print(r)")
    assert (1 in ancestors(found)[3]) is not turns


def test_what_an_optimiser_gives_back_holds_no_function(graph: Analyse) -> None:
    setting = "from scipy.optimize import least_squares, NonlinearConstraint\nk = 1\ndef f(p): return p - k"
    held = "bound = NonlinearConstraint(f, 0, 1)"
    found = graph(setting, "fit = least_squares(f, [1.0])", held, "k = 2", "print(fit.x)", "print(bound)")
    assert ancestors(found)[4] == {0, 1}
    assert 3 in ancestors(found)[5]


def test_a_class_that_holds_itself_is_no_barrier(graph: Analyse) -> None:
    tree = "class Tree:\n    def grow(self):\n        self.__class__ = Big\n        return self.size"
    big = "class Big(Tree):\n    size = 1\nTree.empty = Tree()\nBig.kind = Big"
    found = graph(tree, big, "x = 1", "tree = Tree()\ntree.grow()\nprint(tree)", "print(x)")
    assert not any(cell.barrier for cell in found.cells.values())
    assert ancestors(found)[4] == {2}
    assert {0, 1} <= ancestors(found)[3]


def test_an_unknown_magic_is_a_barrier_and_says_so(graph: Analyse) -> None:
    found = graph("a = 1", "%frobnicate a", "print(2)")
    assert "frobnicate" in (found.cells[1].barrier or "")
    assert ancestors(found)[2] == {0, 1}


def test_a_name_that_nothing_defines_follows_every_earlier_cell(graph: Analyse) -> None:
    found = graph("a = 1", "b = 2", "print(mystery)")
    assert ancestors(found)[2] == {0, 1}
    assert {e.rule for e in found.edges} == {"J2K151"}


def test_a_cell_that_may_raise_binds_only_perhaps(graph: Analyse) -> None:
    found = graph("x = 1", "x = 2\n1/0", "print(x)", tags={1: "raises-exception"})
    assert found.cells[1].may_define == {"x"}
    assert ancestors(found)[2] == {0, 1}


def test_local_modules_are_versioned(graph: Analyse) -> None:
    modules = {"helper": "RATE = 1\ndef rate():\n    return RATE\ndef pure(x):\n    return x + 1\n"}
    found = graph(
        "import helper", "helper.RATE = 5", "print(helper.rate())", "print(helper.pure(1))", modules=modules
    )
    assert ancestors(found)[2] == {0, 1}
    assert "@mod:helper" in found.cells[1].certain


def test_a_local_function_that_changes_its_argument(graph: Analyse) -> None:
    modules = {"helper": "def fill(d):\n    d['x'] = 1\n"}
    found = graph("from helper import fill\nd = {}", "fill(d)", "print(d)", modules=modules)
    assert "d" in found.cells[1].certain


@pytest.mark.parametrize(
    ("source", "effects"),
    [
        ("import requests; r = requests.get('http://x')", {"network"}),
        ("import subprocess; subprocess.run(['true'])", {"process"}),
        ("import time; t = time.time()", {"clock"}),
        ("import random; x = random.random()", {"unseeded"}),
        ("!ls", {"shell"}),
        ("%timeit 1 + 1", {"benchmark", "clock"}),
        ("import pandas as pd; df = pd.read_csv('https://x/y.csv')", {"network"}),
        ("def f():\n    import requests\n    return requests.get('x')\ny = f()", {"network"}),
        ("x = 1 + 1", set()),
    ],
)
def test_effects_are_named(source: str, effects: set[str], graph: Analyse) -> None:
    assert graph(source).cells[0].effects == effects


def test_input_is_a_barrier(graph: Analyse) -> None:
    assert graph("name = input()").cells[0].barrier


def test_certain_means_stated_and_unconditional(graph: Analyse) -> None:
    found = graph("l = []\nx = thing = object()", "l.append(1)", "if x:\n    l.append(2)", "x.frob()")
    assert found.cells[1].certain == {"l"}
    assert "l" in found.cells[2].mutates - found.cells[2].certain
    assert "x" in found.cells[3].mutates - found.cells[3].certain


def test_guarded_reads_are_told(graph: Analyse) -> None:
    found = graph("x = 1", "try:\n    y = x\nexcept NameError:\n    y = 0")
    assert "x" in found.cells[1].guarded


def test_unresolved_calls_are_told(graph: Analyse) -> None:
    assert graph("mystery(3)").cells[0].opaque == ("mystery(3)",)
    assert graph("print(len([1]))").cells[0].opaque == ()


def test_names_that_share_an_object_form_a_group(graph: Analyse) -> None:
    found = graph("import numpy as np\na = np.zeros(4); b = a[:2]; c = np.ones(2)")
    assert found.cells[0].groups == (frozenset({"a", "b"}),)


def test_definitions_are_told(graph: Analyse) -> None:
    source = "import os\nfrom collections import namedtuple\ndef f(): pass\nclass C: pass\ng = lambda: 1\nP = namedtuple('P', 'x')\nx = 1"
    assert graph(source).cells[0].definitions == {"os", "namedtuple", "f", "C", "g", "P"}


def test_work_is_ranked(graph: Analyse) -> None:
    found = graph(
        "def slow(n):\n    s = 0\n    for i in range(n):\n        s += i * i\n    return s",
        "a = slow(10)",
        "b = 1",
        "from sklearn.svm import SVC\nm = SVC()\nm.fit([[0], [1]], [0, 1])",
        "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)",
        "fib(30)",
        "import time; time.sleep(2)",
    )
    heavy = {i for i, c in found.cells.items() if c.loops}
    assert heavy == {1, 3, 5, 6}
    assert found.cells[2].weight < found.cells[1].weight < found.cells[6].weight


def test_files_keep_write_after_read(graph: Analyse) -> None:
    found = graph(
        "open('a.txt','w').write('1')",
        "print(open('a.txt').read())",
        "open('a.txt','w').write('2')",
        "open('b.txt','w').write('2')",
    )
    assert ancestors(found)[2] == {0, 1}
    assert ancestors(found)[3] == set()


def test_a_method_of_a_parameter_is_resolved_by_what_is_passed(graph: Analyse) -> None:
    function = "import random\ndef walk(rnd):\n    return [rnd.gauss(0, 1) for _ in range(9)]\ndef both(r):\n    return walk(r)"
    found = graph(function, "a = walk(random.Random(1))", "b = both(random.Random(2))", "c = both(mystery)")
    assert found.cells[1].opaque == found.cells[2].opaque == ()
    assert found.cells[3].opaque == ("rnd.gauss(0, 1)",)


def test_a_parameter_that_is_told_to_change_may_change_its_library(graph: Analyse) -> None:
    found = graph("import lib\ndef f(m):\n    m.configure(3)", "f(lib.thing())", "lib.compute()")
    assert 1 in ancestors(found)[2]


def test_objects_that_hand_themselves_on_are_followed_once(graph: Analyse) -> None:
    village = (
        "class Agent:\n    def meet(self, other):\n        other.visit(self)\n        self.seen = other\n"
        "class Village:\n    def __init__(self, n):\n        self.agents = [Agent() for i in range(n)]\n"
        "    def day(self):\n        for a in self.agents:\n            a.meet(self.pick(self.agents))\n"
    )
    found = graph(village, "v, w = Village(2), Village(3)", "sorted(a.seen for a in v.agents)", "v.day()")
    assert not any(cell.barrier for cell in found.cells.values())
    assert "v" in found.cells[3].mutates


def test_fields_of_dataclasses_are_no_state_of_the_class(graph: Analyse) -> None:
    head = "from dataclasses import dataclass, field\n"
    agent = "@dataclass\nclass Agent:\n    seen: list = field(default_factory=list)\n    def meet(self, o):\n        o.x = 1"
    found = graph(head + agent, "a = Agent()", "b = Agent()", "a.seen.append(1)", "b.meet(b)")
    assert ancestors(found)[2] == {0}
    assert ancestors(found)[4] == {0, 2}


def test_a_method_of_a_part_of_an_own_object_is_not_resolved(graph: Analyse) -> None:
    classes = (
        "class Part:\n    def go(self):\n        return rate\n"
        "class Whole:\n    def __init__(self):\n        self.part = Part()\n"
        "    def run(self):\n        return self.part.go()\n"
    )
    found = graph(classes, "w = Whole()", "rate = 2", "x = w.run()")
    assert found.cells[3].opaque or 2 in ancestors(found)[3]
