"""What a saved group of names promises when it is loaded again."""

import collections
import datetime
import enum
import fractions
import functools
import hashlib
import itertools
import math
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sympy
from scipy import interpolate, spatial, stats

from jup2kub.kernel import prints, values
from jup2kub.kernel.digests import digest
from jup2kub.kernel.values import Definitions, Unshippable


class Notebook:
    """Cells run in one namespace, as in a kernel."""

    def __init__(self) -> None:
        self.space = {"__name__": "__main__"}
        self.definitions = Definitions()

    def run(self, cell: int, source: str) -> "Notebook":
        before = dict(self.space)
        exec(compile(source, f"cell {cell}", "exec"), self.space)
        names = [n for n, v in self.space.items() if n != "__builtins__" and before.get(n) is not v]
        self.definitions.learn(self.space, names, cell)
        return self

    def save(self, path, *names):
        return values.dump({n: self.space[n] for n in names}, self.definitions, str(path))

    def load(self, path):
        loaded = values.load(str(path), self.definitions)
        self.space.update(loaded)
        return loaded


@pytest.fixture
def there_and_back(tmp_path):
    def travel(**named):
        path = tmp_path / "group"
        values.dump(named, Definitions(), str(path))
        return values.load(str(path), Definitions())

    return travel


def moved(tmp_path, source, names, *later):
    """Run `source` as cell 0 in two kernels, `later` in the first only; carry `names` over; return the second."""
    first, second = Notebook().run(0, source), Notebook().run(0, source)
    for number, text in enumerate(later, 1):
        first.run(number, text)
    first.save(tmp_path / "g", *names)
    second.load(tmp_path / "g")
    return second


def test_views_share_memory_with_their_array(there_and_back):
    a = np.arange(12.0).reshape(3, 4)
    back = there_and_back(a=a, row=a[1], back=a[::-1, ::-2], t=a.T, held=[a])
    back["row"][0] = 99
    assert back["a"][1, 0] == 99
    assert back["t"][0, 1] == 99
    assert back["held"][0] is back["a"]
    assert back["back"].strides == a[::-1, ::-2].strides
    assert back["t"].flags.f_contiguous


def test_a_view_takes_along_only_what_it_sees(tmp_path):
    big = np.zeros(10_000_000)
    assert values.dump({"head": big[:4]}, Definitions(), str(tmp_path / "g"))["bytes"] < 10_000


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.zeros((0, 3), "i2"),
        np.broadcast_to(np.arange(3), (4, 3)),
        np.asfortranarray(np.ones((3, 2))),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([1, "a", None, [2]], object),
        np.array([[1, 2], [3, 4]], object).T,
        np.ma.masked_array([1, 2, 3], [0, 1, 0]),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["x", "yy"]),
    ],
    ids=str,
)
def test_arrays_of_every_kind_keep_type_layout_and_flags(there_and_back, array):
    back = there_and_back(x=array)["x"]
    assert (type(back), back.dtype, back.shape) == (type(array), array.dtype, array.shape)
    assert back.strides == array.strides
    assert back.flags.writeable == array.flags.writeable
    np.testing.assert_array_equal(back, array)


def test_read_only_arrays_stay_read_only(there_and_back):
    a = np.arange(3)
    a.flags.writeable = False
    assert not there_and_back(a=a)["a"].flags.writeable


def test_object_arrays_share_views_and_keep_nan(there_and_back):
    a = np.array([1, np.nan, "x", math.nan], object)
    back = there_and_back(a=a, v=a[2:0:-1])
    back["v"][0] = "new"
    assert back["a"][2] == "new"
    assert back["a"][1] is np.nan
    assert back["a"][3] is math.nan


def test_a_series_taken_from_a_frame_stays_copy_on_write(there_and_back):
    df = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    back = there_and_back(df=df, x=df["x"], index=df.index)
    back["x"].iloc[0] = 99
    assert back["df"]["x"].tolist() == [1.0, 2.0]
    assert back["x"].tolist() == [99.0, 2.0]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(
            {"a": [1, 2], "c": pd.Categorical(["x", "y"]), "t": pd.date_range("2020", periods=2, tz="UTC")}
        ),
        pd.DataFrame(
            np.ones((2, 2)), index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["n", "l"])
        ),
        pd.Series([1, None], dtype="Int64", name="s"),
        pd.Series(["a", None]),
        pd.DataFrame(),
    ],
    ids=["mixed", "multi-index", "masked", "strings", "empty"],
)
def test_frames_come_back_equal_with_attrs(there_and_back, frame):
    frame.attrs["unit"] = "m"
    back = there_and_back(f=frame)["f"]
    assert back.equals(frame)
    assert back.attrs == {"unit": "m"}
    assert back.index.names == frame.index.names


def test_a_frame_with_an_attribute_of_its_own_is_refused(there_and_back):
    df = pd.DataFrame({"x": [1]})
    object.__setattr__(df, "station", "north")
    with pytest.raises(Unshippable, match="station"):
        there_and_back(df=df)


def test_nan_keeps_its_identity_in_plain_containers(there_and_back):
    other = float("nan")
    back = there_and_back(x=[np.nan, math.nan, other, other, {"k": np.nan}])["x"]
    assert back[0] is np.nan
    assert back[1] is math.nan
    assert back[2] is back[3]
    assert back[4]["k"] is np.nan


def test_sets_keep_their_order(there_and_back):
    grown = set(range(0, 4000, 37)) | {"a", "b", "c"}
    shrunk = {8, 0, 16, 24}
    shrunk.discard(16)
    back = there_and_back(grown=grown, shrunk=shrunk, frozen=frozenset("hello world"))
    assert list(back["grown"]) == list(grown)
    assert list(back["shrunk"]) == list(shrunk)
    assert list(back["frozen"]) == list(frozenset("hello world"))


def test_a_set_ordered_by_address_is_refused(there_and_back):
    with pytest.raises(Unshippable, match="address"):
        there_and_back(s={object(), object()})
    if sys.version_info < (3, 12):  # the hash of None was its address
        with pytest.raises(Unshippable, match="address"):
            there_and_back(s={None, 1, "a"})


def test_references_across_names_and_cycles_are_kept(there_and_back):
    shared, loop = [1], []
    loop.append(loop)
    back = there_and_back(a=shared, b={"s": shared}, loop=loop)
    assert back["b"]["s"] is back["a"]
    assert back["loop"][0] is back["loop"]


def test_library_sentinels_and_global_generators_are_the_same_object(there_and_back):
    import dataclasses
    import inspect
    import random

    back = there_and_back(
        x=[dataclasses.MISSING, inspect.Parameter.empty, random._inst, np.random.mtrand._rand]
    )["x"]
    assert back[0] is dataclasses.MISSING
    assert back[1] is inspect.Parameter.empty
    assert back[2] is random._inst
    assert back[3] is np.random.mtrand._rand


def test_a_counter_goes_on_where_it_was(there_and_back):
    counter = itertools.count(3, 2)
    next(counter)
    assert next(there_and_back(c=counter)["c"]) == 5
    assert next(counter) == 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (x for x in "ab"), "generator"),
        (threading.Lock, "lock"),
        (lambda: {"deep": [threading.Thread()]}, "thread"),
        (lambda: itertools.cycle([1]), "iterator"),
        (lambda: iter({1: 2}), "list_iterator"),
        (lambda: np.memmap(__file__, mode="r"), "file"),
        (lambda: bytearray(b"abc"), None),
    ],
)
def test_what_cannot_travel_is_refused_in_words(there_and_back, tmp_path, make, words):
    if words is None:
        assert there_and_back(x=make())["x"] == make()
        return
    with pytest.raises(Unshippable, match=words) as caught:
        there_and_back(x=make())
    assert caught.value.name == "x"
    assert not (tmp_path / "group").exists()


def test_an_open_file_is_refused(there_and_back):
    with Path(__file__).open() as file, pytest.raises(Unshippable, match="open file"):
        there_and_back(f=file)


def test_memory_shared_with_a_bytearray_is_refused_not_lost(there_and_back):
    raw = bytearray(8)
    with pytest.raises(Unshippable, match="shares memory"):
        there_and_back(raw=raw, a=np.frombuffer(raw, "u1"))


def test_a_raised_exception_is_refused(there_and_back):
    try:
        raise ValueError("x")
    except ValueError as error:
        with pytest.raises(Unshippable, match="traceback"):
            there_and_back(e=error)
    assert there_and_back(e=ValueError("x"))["e"].args == ("x",)


def test_instances_refer_to_the_class_of_their_cell(tmp_path):
    source = "class A:\n    def __init__(self): self.x = 1\na = A()"
    note = Notebook().run(0, source).run(1, source.replace("1", "2").replace("a =", "b ="))
    facts = note.save(tmp_path / "g", "a", "b")
    assert facts["cells"] == [0, 1]
    old = type(note.space["a"])
    back = note.load(tmp_path / "g")
    assert type(back["a"]) is old
    assert type(back["b"]) is note.space["A"] is not old


def test_a_missing_definition_is_a_lookup_error(tmp_path):
    Notebook().run(0, "class A: pass\na = A()").save(tmp_path / "g", "a")
    with pytest.raises(LookupError, match="cell 0"):
        Notebook().load(tmp_path / "g")


def test_functions_in_data_stay_late_bound(tmp_path):
    source = "k = 1\ndef f(x): return x * k\n"
    note = moved(tmp_path, source, ["table"], "table = {'f': f, 'g': lambda x: x + k}")
    note.space["k"] = 10
    assert note.space["table"]["f"] is note.space["f"]
    assert note.space["table"]["f"](2) == 20
    assert note.space["table"]["g"](2) == 12


def test_closures_share_their_cells(tmp_path):
    source = "def make():\n n = 0\n def up():\n  nonlocal n; n += 1\n def get(): return n\n return up, get\n"
    note = moved(tmp_path, source, ["up", "get"], "up, get = make()\nup()")
    note.space["up"]()
    assert note.space["get"]() == 2


def test_enum_members_named_tuples_and_dataclasses(tmp_path):
    source = (
        "import enum, collections, dataclasses\n"
        "class C(enum.Enum):\n RED = 1\nP = collections.namedtuple('P', 'x y')\n"
        "@dataclasses.dataclass\nclass D:\n a: int\n b: list\n"
    )
    note = moved(tmp_path, source, ["v"], "v = [C.RED, P(1, 2), D(1, [2])]")
    red, point, record = note.space["v"]
    assert red is note.space["C"].RED
    assert isinstance(point, note.space["P"])
    assert record == note.space["D"](1, [2])


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("class C: n = 0\nc = C()", "C.n += 3"),
        ("class C: seen = []\nc = C()", "C.seen.append(1)"),
        ("def f(x, seen=[]): seen.append(x)\nc = {'f': f}", "f(1)"),
        ("def f(x): pass\nc = {'f': f}", "f.calls = 1"),
        ("import functools\n@functools.lru_cache\ndef f(x): return x\nc = {'f': f}", "f(1)"),
        (
            "import functools\n@functools.singledispatch\ndef f(x): return x\nc = {'f': f}",
            "f.register(int, abs)",
        ),
    ],
)
def test_a_definition_changed_later_has_no_transportable_version(tmp_path, source, change):
    note = Notebook().run(0, source)
    note.save(tmp_path / "before", "c")
    with pytest.raises(Unshippable, match=r"changed|cached results"):
        note.run(1, change).save(tmp_path / "after", "c")


def test_calling_a_dispatching_function_does_not_change_it(tmp_path):
    note = Notebook().run(0, "import functools\n@functools.singledispatch\ndef f(x): return x\nc = {'f': f}")
    note.run(1, "f(1); f('a')").save(tmp_path / "g", "c")


def test_a_torn_file_is_not_read(tmp_path):
    path = tmp_path / "g"
    values.dump({"x": np.arange(1000)}, Definitions(), str(path))
    data = path.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="saved values"):
            values.load(str(path), Definitions())


def test_the_digest_is_that_of_the_file_and_of_the_value(tmp_path):
    facts = [
        values.dump({"x": np.arange(9.0), "y": {"k": 1}}, Definitions(), str(tmp_path / n)) for n in "ab"
    ]
    data = (tmp_path / "a").read_bytes()
    assert facts[0] == facts[1]
    assert facts[0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert facts[0]["bytes"] == len(data)


def test_ordered_and_default_dictionaries_and_deques(there_and_back):
    value = [
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, k=[1]),
        collections.deque([1], 3),
    ]
    assert there_and_back(v=value)["v"] == value


def test_library_enum_members_are_the_same(there_and_back):
    assert there_and_back(m=[enum.Flag.__mro__[0], math.sin])["m"][1] is math.sin


@pytest.mark.parametrize(
    "value",
    [
        [{"a": [i, "x"], "b": 1.5} for i in range(5)],
        pd.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"]}),
        [datetime.date(2020, 1, 1), fractions.Fraction(1, 3), np.float32(1), slice(1, 2)],
        [{8, 0, 16}, frozenset({(1, 2), "a"}), float("nan")],
    ],
    ids=["plain", "frame", "values", "sets"],
)
def test_what_pickle_surely_keeps_is_not_read_back(there_and_back, monkeypatch, value):
    monkeypatch.setattr(values, "_accept", lambda *_: pytest.fail("read back"))
    assert repr(there_and_back(v=value)["v"]) == repr(value)


def test_objects_that_share_their_attributes_are_refused(tmp_path):
    note = Notebook().run(0, "class A:\n    pass\na, b = A(), A()\nb.__dict__ = a.__dict__\npair = [a, b]")
    with pytest.raises(Unshippable, match="share their attributes"):
        note.save(tmp_path / "g", "pair")


def test_a_partial_call_keeps_its_digest_when_it_was_looked_at(there_and_back):
    call = functools.partial(int, base=2)
    before = digest(call)
    assert digest(there_and_back(c=call)["c"]) == digest(call) == before


def test_large_values_are_digested_in_a_thread_that_ends(tmp_path):
    made = values.dump({"x": np.arange(4e6)}, Definitions(), str(tmp_path / "g"), threads=True)
    assert made["sha256"] == hashlib.sha256((tmp_path / "g").read_bytes()).hexdigest()
    assert "digest" not in {t.name for t in threading.enumerate()}


def test_a_read_only_view_of_a_mapping_still_looks_at_it(there_and_back):
    inner = {"a": [1]}
    found = there_and_back(inner=inner, view=types.MappingProxyType(inner))
    found["inner"]["b"] = 2
    assert type(found["view"]) is types.MappingProxyType
    assert dict(found["view"]) == {"a": [1], "b": 2}


class Lazy:
    """An object of a library that makes an empty container when it is looked at, and hands its class's part on."""

    __module__ = "somelibrary.core"
    domain = (0, 1)

    def __init__(self, value):
        self.value, self._notes, self._state = value, None, object()

    def __getstate__(self):
        return {**self.__dict__, "domain": self.domain, "_state": None}

    def __setstate__(self, state):
        self.__dict__.update(state)


LIBRARY_VALUES = {
    "polynomial": lambda: np.polynomial.Polynomial([1, 2, 3]),
    "chebyshev": lambda: np.polynomial.Chebyshev([1, 2.5]),
    "tree": lambda: spatial.cKDTree(np.arange(20.0).reshape(10, 2)),
    "distribution": lambda: stats.norm(1, 2),
    "spline": lambda: interpolate.CubicSpline([1, 2, 3], [4, 5, 6.0]),
    "expression": lambda: sympy.integrate(sympy.exp(-(sympy.Symbol("x") ** 2)), sympy.Symbol("x")),
    "proxy": lambda: types.MappingProxyType({"a": 1}),
}


@pytest.mark.parametrize("name", LIBRARY_VALUES)
def test_a_value_has_the_same_digest_before_and_after_a_journey(there_and_back, name):
    value = LIBRARY_VALUES[name]()
    before = digest(value)
    assert not before.startswith("opaque")
    assert digest(LIBRARY_VALUES[name]()) == before
    assert digest(there_and_back(value=value)["value"]) == before


def test_what_a_library_fills_in_lazily_does_not_count_and_its_content_does():
    one, two = Lazy(1), Lazy(1)
    two._notes = {}
    copied = Lazy.__new__(Lazy)
    copied.__setstate__(one.__getstate__())
    assert digest(one) == digest(two) == digest(copied)
    assert digest(one) != digest(Lazy(2))
    before = prints.take({"v": one})
    one._notes = {}
    assert prints.changed(before, prints.take({"v": one}), {"v": one})[0] == set()
