"""What the text and the tables do not tell is seen, and repaired; what merely looks like a change is no alarm."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from .lab import TABLE, Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

LIBRARY = '''
import decimal, random
_state = {"rate": 1}

def total(xs):
    """Sum, and leave a trace in the argument."""
    getattr(xs, "app" + "end")(100)
    return 1.0

def poke(holder):
    """Change what the holder's view looks at."""
    holder["view"][0] = 50
    return 1.0

def draw():
    """Draw from the global generator."""
    return random.random()

def pull(holder):
    """Draw from the caller's generator."""
    return float(holder["generator"].random())

def total_twice(xs):
    """Sum, and leave two traces in the argument."""
    total(xs)
    return total(xs)

def step(holder):
    """Take one from the caller's iterator."""
    return float(next(holder["numbers"]))

def shorten():
    """Set how precisely another library computes."""
    decimal.getcontext().prec = 3
    return 1.0

def tell(level):
    """Set what cannot be carried to another kernel."""
    import logging
    logging.getLogger("lab").setLevel(level)
    return 1.0

def learn(rate):
    """Set state inside the library."""
    _state["rate"] = rate
    return 1.0

def rate():
    """Read it."""
    return _state["rate"]

class Window:
    """Looks at what it was made of only when it is asked."""
    def __init__(self, items): self.items = items

def window(items):
    """Make something that keeps its argument."""
    return Window(items)
'''
WRONG = {
    "packages": {**TABLE["packages"], "careless": {"pure": True}},
    "functions": {**TABLE["functions"], "careless.*": {"result": "atom"}, "careless.window": {"fresh": True}},
}
"""A table that is wrong about the library: nothing but validation can find what it does."""


@dataclass(frozen=True)
class Surprise:
    """A notebook that does more than its text and the tables tell, and what finds that."""

    mechanism: str
    """One of `without.py`."""
    cells: tuple[str, ...]


LOCK = "class Box:\n    def __init__(self): self.lock, self.n = threading.Lock(), probe.at('n')"
SURPRISES = {
    "argument": Surprise(
        "comparison",
        (
            "import probe, careless",
            "xs = [1, 2]",
            "n = probe.at('n') + careless.total(xs)",
            "m = probe.at('m') + len(xs)\nprint(m)",
        ),
    ),
    "view": Surprise(
        "sharing",
        (
            "import probe, careless, numpy as np",
            "a = np.zeros(4)\nholder = {'view': a[:2]}",
            "n = probe.at('n') + careless.poke(holder)",
            "m = probe.at('m') + a.sum()\nprint(m)",
        ),
    ),
    "argument that is kept": Surprise(
        "sharing",
        (
            "import probe, careless",
            "xs = [1, 2]\nw = careless.window(xs)",
            "xs.append(probe.at('n'))",
            "m = probe.at('m') + len(w.items)\nprint(m)",
            "print(xs, w.items is xs)",
        ),
    ),
    "generator of a library": Surprise(
        "generators",
        (
            "import probe, careless, random",
            "random.seed(3)",
            "n = probe.at('n') + careless.draw()",
            "m = probe.at('m') + careless.draw()\nprint(n, m)",
            "print(random.random())",
        ),
    ),
    "generator as an argument": Surprise(
        "comparison",
        (
            "import probe, careless, numpy as np",
            "rng = np.random.default_rng(3)\nholder = {'generator': rng}",
            "n = probe.at('n') + careless.pull(holder)",
            "m = probe.at('m') + careless.pull(holder)\nprint(n, m)",
            "print(rng.random())",
        ),
    ),
    "shared iterator": Surprise(
        "homes",
        (
            "import probe",
            "def numbers():\n    yield from (1, 2, 3)",
            "g = numbers()",
            "n = probe.at('n') + next(g)",
            "m = probe.at('m') + next(g)",
            "print(n, m, list(g))",
        ),
    ),
    "lock": Surprise(
        "homes",
        (
            "import probe, threading",
            LOCK,
            "b = Box()\nfor i in range(10): b.n += 1",
            "m = probe.at('m')",
            "with b.lock: print(b.n + m)",
        ),
    ),
    "settings of a library": Surprise(
        "settings",
        (
            "import probe, careless, decimal",
            "n = probe.at('n') + careless.shorten()",
            "m = probe.at('m')\nprint(decimal.Decimal(1) / 3)",
            "print(n + m, decimal.Decimal(2) / 3)",
        ),
    ),
    "state of a library": Surprise(
        "settings",
        (
            "import probe, careless",
            "n = probe.at('n') + careless.learn(5)",
            "m = probe.at('m') + careless.rate()\nprint(m)",
            "print(n + m, careless.rate())",
        ),
    ),
    "settings that cannot travel": Surprise(
        "settings",
        (
            "import probe, careless, logging",
            "n = probe.at('n') + careless.tell(10)",
            "m = probe.at('m')\nprint(logging.getLogger('lab').level)",
            "print(n + m, logging.getLogger('lab').level)",
        ),
    ),
}


@pytest.mark.parametrize("fork", [(), ("--no-fork",)], ids=["fork", "no-fork"])
@pytest.mark.parametrize("name", SURPRISES)
def test_surprise_is_repaired(lab: Lab, name: str, fork: tuple[str, ...]) -> None:
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(*SURPRISES[name].cells)
    expected = lab.sequential()
    done = lab.run(*fork)
    assert done.code == 0, done.err
    assert lab.outputs() == expected, done.err
    again = lab.run("--plan", "hybrid", "--fresh", *fork)
    assert lab.outputs() == expected, again.err


@pytest.mark.parametrize("name", SURPRISES)
def test_run_is_wrong_without_the_mechanism(lab: Lab, name: str) -> None:
    """So each of these notebooks tests what it is meant to."""
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(*SURPRISES[name].cells)
    expected = lab.sequential()
    done = lab.run_without(SURPRISES[name].mechanism)
    assert done.code in (0, 1), done.err
    assert lab.outputs() != expected


def test_repair_says_what_was_wrong(lab: Lab) -> None:
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(*SURPRISES["argument"].cells)
    for name in "nm":
        lab.gate(name)
    running = lab.start()
    with lab.hold("n"):
        lab.hold("m").close()  # so it has used the list before it was changed
        lab.open_gate("n")
        lab.open_gate("m")
    done = running.end()
    assert done.code == 0, done.err
    assert lab.text(3) == "4.0\n"
    assert "cell 2: it changed xs, which its text does not say, and cell 3 had used it" in done.err


@pytest.mark.parametrize("offload", ["none", "auto", "all"])
def test_edit_of_a_cell_that_does_more_than_it_says_reaches_later_cells(lab: Lab, offload: str) -> None:
    """A result is found again only if the cells that were seen to change what it reads are the same."""
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    for name, text in (("total", "4.0\n"), ("total", "4.0\n"), ("total_twice", "5.0\n"), ("total", "4.0\n")):
        lab.write(
            "import probe, careless",
            "xs = [1, 2]",
            f"n = careless.{name}(xs)",
            "m = probe.at('m') + len(xs)\nfor i in range(10_000_000): pass\nprint(m)",
            "k = probe.at('k')\nfor i in range(10_000_000): pass",
        )
        done = lab.run("--plan", "hybrid", offload=offload)
        assert done.code == 0, done.err
        assert lab.text(3) == text, done.err
    if (
        offload != "all"
    ):  # there a later cell begins before that is known, and the rest runs once more, in order
        assert len(lab.executions("k")) == 1, "what does not depend on it is kept"


def test_fresh_kernel_is_given_what_a_cell_of_the_main_line_did_beyond_its_text(lab: Lab) -> None:
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(
        "import probe, careless, decimal",
        "xs = [1, 2]",
        "n = careless.total(xs) + careless.shorten()",
        "m = probe.at('m') + len(xs)\nprint(m, decimal.Decimal(1) / 3)",
        "k = probe.at('k') + len(xs)\nprint(k, decimal.Decimal(1) / 3)",
    )
    expected = lab.sequential()
    done = lab.run("--no-fork", offload="auto")
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert "in a step" in done.err


CALM = {
    "networkx views": (
        "import probe, networkx as nx",
        "G = nx.path_graph(5)",
        "n = probe.at('n') + len(G.nodes) + sum(d for _, d in G.degree)",
        "m = probe.at('m') + len(G.edges) + len(G.adj)\nprint(m)",
        "print(n)",
    ),
    "cached property": (
        "import probe, functools",
        "class C:\n    @functools.cached_property\n    def area(self): return 3.0",
        "c = C()",
        "n = probe.at('n') + c.area",
        "m = probe.at('m') + c.area\nprint(n + m)",
    ),
    "index caches": (
        "import probe, pandas as pd",
        "df = pd.DataFrame({'x': range(50)}, index=[f'r{i}' for i in range(50)])",
        "n = probe.at('n') + df.loc['r3', 'x'] + df.index.is_unique",
        "m = probe.at('m') + df.loc['r4', 'x']\nprint(n + m)",
    ),
    "regression results": (
        "import probe, numpy as np, statsmodels.api as sm",
        "x = np.arange(20.0)\nres = sm.OLS(x * 2 + np.sin(x), sm.add_constant(x)).fit()",
        "n = probe.at('n') + res.rsquared + res.aic",
        "m = probe.at('m') + float(res.pvalues[1])\nprint(n, m)",
    ),
}


@pytest.mark.parametrize("name", CALM)
def test_reading_is_no_change(lab: Lab, name: str) -> None:
    lab.write(*CALM[name])
    expected = lab.sequential()
    before = {n: len(lab.executions(n)) for n in "nm"}
    done = lab.run()
    assert done.code == 0, done.err
    assert lab.outputs() == expected
    assert "which its text does not say" not in done.err
    assert {n: len(lab.executions(n)) for n in "nm"} == {n: k + 1 for n, k in before.items()}
