"""What fingerprints and digests promise."""

import ast
import functools
import gc
import random
import threading
import types
import weakref

import numpy as np
import pandas as pd
import pytest

from jup2kub.kernel import ambient, hashing, printer, prints, rewrite


def difference(value, action):
    before = prints.take({"v": value})
    action(value)
    found = prints.changed(before, prints.take({"v": value}), {"v": value})
    return [kind for kind, names in zip(("changed", "benign", "unknown"), found, strict=True) if names]


class Cached:
    @functools.cached_property
    def slow(self):
        return 1


def local(source):
    space = {"__name__": "__main__"}
    exec(source, space)
    return space


@pytest.mark.parametrize(
    ("value", "action"),
    [
        ([1, [2]], lambda v: v[1].append(3)),
        ({"a": 1}, lambda v: v.update(a=2)),
        ({1, 2}, lambda v: v.add(3)),
        (bytearray(b"ab"), lambda v: v.extend(b"c")),
        (np.zeros(5), lambda v: v.__setitem__(2, 1)),
        (np.zeros((4, 4))[::2, ::2], lambda v: v.__setitem__((1, 1), 1)),
        (np.array([[], 1], object), lambda v: v[0].append(1)),
        (pd.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__("b", 1)),
        (pd.DataFrame({"a": ["x", "y"]}), lambda v: v.__setitem__("a", "z")),
        (pd.Series([1.0, 2.0]), lambda v: v.__setitem__(0, 5)),
        (np.random.default_rng(1), lambda v: v.random()),
        (random.Random(1), lambda v: v.random()),
        (iter([1, 2]), next),
        ((x for x in "ab"), next),
        ({"lock": threading.Lock(), "n": [1]}, lambda v: v["n"].append(2)),
        (local("class A:\n x = 1\na = A()")["a"], lambda v: setattr(v, "y", 1)),
        (local("class A:\n x = 1\n")["A"], lambda v: setattr(v, "x", 2)),
        (local("def f(x, seen=[]): seen.append(x)")["f"], lambda v: v(1)),
        (local("class L(list): pass\na = L()")["a"], lambda v: v.append(1)),
        (local("class S:\n __slots__ = ('x',)\na = S()")["a"], lambda v: setattr(v, "x", 1)),
    ],
)
def test_a_change_in_place_is_seen(value, action):
    assert difference(value, action) == ["changed"]


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (
            pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
            lambda v: (v.describe(), v.a.sum(), v.index.is_unique, v.loc[1]),
        ),
        ([{"a": (1, {2})}], lambda v: (str(v), hash(v[0]["a"][0]))),
        (np.arange(6).reshape(2, 3).T, lambda v: v.sum()),
    ],
)
def test_reading_changes_nothing(value, action):
    assert difference(value, action) == []


def test_an_added_cached_property_is_benign():
    assert difference(Cached(), lambda v: v.slow) == ["benign"]


def test_views_of_a_graph_are_benign():
    networkx = pytest.importorskip("networkx")
    graph = networkx.path_graph(4)
    assert difference(graph, lambda g: (g.adj, g.edges, networkx.pagerank(g))) == ["benign"]
    assert difference(graph, lambda g: g.add_edge(0, 9)) == ["changed"]


def test_a_summary_of_a_fitted_model_is_benign():
    api = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(0)
    fitted = api.OLS(rng.random(50), rng.random((50, 2))).fit()
    assert difference(fitted, lambda v: (v.summary(), v.resid, v.rsquared)) == ["benign"]


def test_tidying_the_blocks_of_a_frame_is_no_change():
    df = pd.DataFrame({"a": [1.0, 2.0]})
    df["b"] = 2.0
    assert difference(df, lambda v: v._consolidate_inplace()) == []


def test_no_code_of_the_notebook_is_called():
    space = local(
        "calls = []\n"
        "class A:\n"
        " def __reduce__(self): calls.append('reduce')\n"
        " def __getstate__(self): calls.append('getstate')\n"
        " def __eq__(self, other): calls.append('eq')\n"
        " def __hash__(self): calls.append('hash'); return 1\n"
        " def __repr__(self): calls.append('repr'); return ''\n"
        " def __getattr__(self, name): calls.append(name); raise AttributeError(name)\n"
        "a = A()\n"
    )
    taken = prints.take({"a": space["a"], "l": [space["a"]]})
    prints.digest(space["a"])
    assert taken.digests["a"] is not None
    assert space["calls"] == []


def test_what_cannot_be_finished_in_time_leaves_the_time_to_the_others(monkeypatch):
    """A value that is too large for the budget is not begun, whatever the machine's speed."""
    monkeypatch.setattr(hashing.Clock, "pace", 1.0)  # seconds for a byte
    seen = prints.take({"big": np.zeros(1 << 20), "small": np.zeros(3)}, budget_seconds=3600)
    assert seen.digests["big"] is None
    assert seen.digests["small"] is not None


def test_a_digest_does_not_depend_on_what_is_known_of_the_pace(monkeypatch):
    data = np.arange(3_000_001)
    digests = set()
    for pace in (0.0, 1e-12):
        monkeypatch.setattr(hashing.Clock, "pace", pace)
        digests.add(prints.fingerprint(data))
        assert 0 < hashing.Clock.pace < 1e-6
    assert len(digests) == 1
    assert None not in digests


def test_what_is_over_budget_is_not_gone_through(monkeypatch):
    """Many small values that nobody has time for cost nothing."""
    met = []
    monkeypatch.setattr(printer.Printer, "_instance", lambda self, obj, cls: met.append(obj))
    seen = prints.take({str(n): [types.SimpleNamespace(n=n)] for n in range(50)}, budget_seconds=0.0)
    assert set(seen.digests.values()) == {None}
    assert not met


def test_over_budget_is_unknown():
    before = prints.take({"v": list(range(100_000))}, budget_seconds=0.0)
    assert before.digests["v"] is None
    assert prints.changed(before, before) == (set(), set(), {"v"})


def test_aliases_are_objects_and_memory_that_can_change():
    a = np.zeros(5)
    shared = []
    df = pd.DataFrame({"x": [1.0]})
    names = {
        "a": a,
        "b": a[2:],
        "l": [shared],
        "m": {"k": shared},
        "n": 3,
        "df": df,
        "s": df["x"],
        "t": ("x",),
        "u": "x",
    }
    assert set(prints.aliases(prints.take(names))) == {frozenset("ab"), frozenset("lm")}


def test_prints_keep_no_value_alive():
    import gc
    import weakref

    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    taken = prints.take({"t": thing})
    del thing
    gc.collect()
    assert taken.digests["t"] is not None
    assert seen() is None


def test_a_digest_is_of_the_value_alone():
    text = "ab"
    one = [text * 2, text * 2, {"x", "y"}, np.arange(4)[::2], pd.DataFrame({"a": [1]})]
    shared = text * 2
    two = [shared, shared, {"y", "x"}, np.array([0, 2]), pd.DataFrame({"a": [1]})]
    assert prints.digest(one) == prints.digest(two)
    assert prints.digest([1]) != prints.digest([1.0]) != prints.digest([True])
    assert prints.digest({"a": 1, "b": 2}) != prints.digest({"b": 2, "a": 1})
    assert prints.digest(0.0) != prints.digest(-0.0)


def test_a_digest_of_what_has_no_content_names_the_type():
    assert prints.digest(threading.Lock()) == "opaque:_thread.lock"
    assert prints.digest(x for x in "a") == "opaque:generator"


def test_a_digest_of_a_function_is_that_of_its_code():
    one, two, three = (local(f"\n\ndef f(x): return x + {n}")["f"] for n in (1, 1, 2))
    assert prints.digest(one) == prints.digest(two) != prints.digest(three)


@pytest.mark.parametrize(
    "seed", ["random.seed(5)", "random.seed('x')", "np.random.seed(5)", "np.random.seed([1, 2])"]
)
@pytest.mark.parametrize("draws", [0, 1, 5000])
def test_seeding_is_told_from_drawing(seed, draws):
    name = "@rng:random" if seed.startswith("random") else "@rng:numpy"
    follows = ambient._follows_python if name == "@rng:random" else ambient._follows_numpy
    kept = ambient.get(name)

    def draw():
        [random.random() for _ in range(draws)], np.random.random(draws)
        return ambient.get(name)

    try:
        assert follows(kept, draw(), 100)
        exec(seed)
        assert not follows(kept, draw(), 100)
    finally:
        ambient.put(name, kept)


def test_a_function_has_the_digest_of_its_own_text_though_its_loop_is_wrapped():
    source = "def f(xs):\n    def g(y):\n        return [y + x for x in xs]\n    for x in xs:\n        g(x)\n    return g\n"
    plain, mapped = {}, {}
    exec(compile(source, "<cell>", "exec"), plain)
    specs = [
        {"cell": 1, "line": 4, "column": 4, "function": "f"},
        {"cell": 1, "line": 3, "column": 15, "function": "f.g", "kind": "list"},
    ]
    exec(compile(rewrite.rewrite(ast.parse(source), specs), "<cell>", "exec"), mapped)
    assert mapped["f"].__code__.co_code != plain["f"].__code__.co_code
    assert prints.digest(mapped["f"]) == prints.digest(plain["f"])


def test_a_value_that_was_looked_at_dies_with_its_last_name() -> None:
    class Thing:
        pass

    thing = Thing()
    watcher = weakref.ref(thing)
    gc.disable()
    try:
        prints.take({"thing": thing, "held": [thing]})
        prints.fingerprint(thing)
        del thing
        assert watcher() is None
    finally:
        gc.enable()


def test_compiled_functions_and_caches_of_frames_relate_nothing_and_are_no_change() -> None:
    series = pd.Series(range(48), index=pd.date_range("2024-01-01", periods=48, freq="h"))
    assert difference(series, lambda s: s.resample("D").sum()) == []
    daily, smooth = series.resample("D").sum(), series.rolling(24).mean().dropna()
    assert prints.aliases(prints.take({"series": series, "daily": daily, "smooth": smooth})) == ()
    left, right = np.random.default_rng(5).spawn(2)
    assert prints.aliases(prints.take({"left": left, "right": right})) == ()


def test_pictures_are_compared_as_outputs_not_as_objects():
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    before = prints.digest(axes)
    axes[0].plot([1, 2])
    assert prints.digest(axes) == before
    assert prints.digest(axes[0]).startswith("opaque:matplotlib")
