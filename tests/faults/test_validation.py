"""What the text and the tables do not tell is seen, and repaired; what merely looks like a change is no alarm."""

from __future__ import annotations

import json

import pytest

from .lab import TABLE, Lab

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(240)]

LIBRARY = '''
import random
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

def learn(rate):
    """Set state inside the library."""
    _state["rate"] = rate
    return 1.0

def rate():
    """Read it."""
    return _state["rate"]
'''
WRONG = {
    "packages": {**TABLE["packages"], "careless": {"pure": True}},
    "functions": {**TABLE["functions"], "careless.*": {"result": "atom"}},
}
"""A table that is wrong about the library: nothing but validation can find what it does."""

SURPRISES = {
    "argument": (
        "import probe, careless",
        "xs = [1, 2]",
        "n = probe.at('n') + careless.total(xs)",
        "m = probe.at('m') + len(xs)\nprint(m)",
    ),
    "view": (
        "import probe, careless, numpy as np",
        "a = np.zeros(4)\nholder = {'view': a[:2]}",
        "n = probe.at('n') + careless.poke(holder)",
        "m = probe.at('m') + a.sum()\nprint(m)",
    ),
    "generator of a library": (
        "import probe, careless, random",
        "random.seed(3)",
        "n = probe.at('n') + careless.draw()",
        "m = probe.at('m') + careless.draw()\nprint(n, m)",
        "print(random.random())",
    ),
    "shared iterator": (
        "import probe",
        "g = iter([1, 2, 3])",
        "n = probe.at('n') + next(g)",
        "m = probe.at('m') + next(g)",
        "print(n, m, list(g))",
    ),
    "lock": (
        "import probe, threading",
        "class Box:\n    def __init__(self): self.lock, self.n = threading.Lock(), probe.at('n')",
        "b = Box()\nfor i in range(10): b.n += 1",
        "m = probe.at('m')",
        "with b.lock: print(b.n + m)",
    ),
}


@pytest.mark.parametrize("fork", [(), ("--no-fork",)], ids=["fork", "no-fork"])
@pytest.mark.parametrize("name", SURPRISES)
def test_surprise_is_repaired(lab: Lab, name: str, fork: tuple[str, ...]) -> None:
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(*SURPRISES[name])
    expected = lab.sequential()
    done = lab.run(*fork)
    assert done.code == 0, done.err
    assert lab.outputs() == expected, done.err
    again = lab.run("--plan", "hybrid", "--fresh", *fork)
    assert lab.outputs() == expected, again.err


def test_repair_says_what_was_wrong(lab: Lab) -> None:
    (lab.library / "careless.py").write_text(LIBRARY)
    lab.table.write_text(json.dumps(WRONG))
    lab.write(*SURPRISES["argument"])
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
