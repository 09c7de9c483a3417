"""Map steps: iterations in children, with what one kernel from top to bottom would give."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from maphelp import Outcome, run, visible

from jup2kub.kernel import mapparent, maps, mapstate, mapwatch


def settings(**changes: Any) -> maps.MapSettings:
    return maps.MapSettings(**{"workers": 2, "chunk_seconds": 0.0, **changes})


def both(source: str, **given: Any) -> Outcome:
    """Run plainly and mapped; everything visible must be equal; return the mapped outcome."""
    plain = run(source, None, **given)
    mapped = run(source, settings(), **given)
    assert mapped.error == plain.error
    assert mapped.printed == plain.printed
    assert list(visible(mapped.namespace)) == list(visible(plain.namespace))
    assert repr(visible(mapped.namespace)) == repr(visible(plain.namespace))
    return mapped


HELP = """
def f(x):
    return x * 0.1 + 1e-9
"""

EQUAL = {
    "append and sum": "out, t = [], 0.3\nfor x in range(9):\n    y = f(x)\n    out.append(y)\n    t += y\n    print(x, y)",
    "items": "d = {3: 'old', 99: 1}\nfor x in range(9):\n    d[x % 4] = f(x)",
    "counts": "from collections import Counter\nc = Counter()\nfor w in 'abracadabra':\n    f(1)\n    c[w] += 1",
    "groups": "g = {}\nfor x in range(9):\n    g.setdefault(x % 3, []).append(f(x))",
    "defaultdict": "from collections import defaultdict\ng = defaultdict(list)\nfor x in range(9):\n    g[x % 3].append(f(x))",
    "maximum": "b = 2\nfor x in [3, 9, 1, 9.0, 2]:\n    b = max(b, x + 0 * f(x))",
    "minimum, name last": "b = 2\nfor x in [3, 9, 1, 1.0, 2]:\n    b = min(x + 0 * f(x), b)",
    "arg-max": "b = None\nfor x in [3, 9, 1, 9.0, 2]:\n    s = f(x)\n    if b is None or s > b:\n        b, a = s, x",
    "set": "s = {'z'}\nfor x in range(9):\n    f(x)\n    s.add(str(x % 5))",
    "text": "t = ''\nfor x in range(9):\n    t = t + str(f(x))",
    "conditional": "for x in range(9):\n    if f(x) < 0.35:\n        last = x\nprint(last)",
    "never assigned": "for x in range(9):\n    if f(x) < 0:\n        last = x",
    "continue": "out = []\nfor x in range(9):\n    if x % 2:\n        continue\n    out.append(f(x))",
    "comprehension": "a = [f(x) for x in range(9) if x % 2]\nb = {x % 4: f(x) for x in range(9)}\nc = {str(f(x)) for x in range(9)}",
    "product": "p = 1.1\nfor x in range(9):\n    p *= f(x + 1)",
    "array items": "import numpy as np\nr = np.zeros(9)\nfor i in range(9):\n    r[i] = f(i)",
    "array sum": "import numpy as np\nr = np.zeros(3)\nfor i in range(9):\n    r += np.arange(3) * f(i)",
    "enumerate zip": "o = []\nfor i, (a, b) in enumerate(zip([1, 2, 3, 4], 'abcd')):\n    f(a)\n    o.append((i, a, b))",
    "dictionary views": "o = []\nfor k, v in {'a': 1, 'b': 2, 'c': 3}.items():\n    o.append((k, f(v)))",
    "in a function": "def scan(n):\n    out, t, last = [], 0.0, None\n    for x in range(n):\n        y = f(x)\n        if x % 4 == 0:\n            seen = x\n        out.append(y)\n        t += y\n    return out, t, seen, y\nr = scan(9)",
    "closure in a function": "def scan(k):\n    out = []\n    for x in range(9):\n        out.append(f(x) + (lambda: k)())\n    return out\nr = scan(2)",
    "empty": "o = []\nfor x in []:\n    o.append(f(x))",
    "one": "o = []\nfor x in [7]:\n    o.append(f(x))",
    "raises": "o = []\nfor x in range(9):\n    print(x)\n    o.append(f(x))\n    y = 1 / (x - 5)\n    z = y",
    "raises at once": "o = []\nfor x in range(9):\n    o.append(1 / f('a'))",
    "raises in a comprehension": "o = [f(x) / (x - 5) for x in range(9)]",
    "raises in the fold": "t = 0\nfor x in [1, 2, 3, 'a', 5, 6]:\n    f(1)\n    print(x)\n    t += x",
    "missing key": "d = {0: 0, 1: 0}\nfor x in [0, 1, 0, 2, 1, 1]:\n    f(1)\n    d[x] += 1",
    "caught outside": "o = []\ntry:\n    for x in range(9):\n        o.append(f(x))\n        1 / (x - 5)\nexcept ZeroDivisionError:\n    print(x, o)",
    "unpicklable": "o = []\nfor x in range(6):\n    o.append((x, f(x), (i for i in ())) [:2])\n    g = lambda: x",
}  # fmt: skip


@pytest.mark.parametrize("case", EQUAL, ids=str)
def test_a_mapped_loop_equals_the_plain_one(case: str) -> None:
    both(HELP + EQUAL[case])


def test_iterations_really_run_in_children() -> None:
    done = run("import os\nwho = []\nfor x in range(9):\n    who.append(os.getpid())", settings())
    who = done.namespace["who"]
    assert who[0] == who[-1] == os.getpid()
    assert sum(p != os.getpid() for p in who) == done.reports[0]["mapped"] == 6


class Model:
    def __init__(self) -> None:
        self.history: list[int] = []
        self.shared: Any = None

    def fit(self, x: int) -> Model:
        self.history.append(x)
        self.coef_ = np.arange(x)
        return self


def test_an_element_changed_in_place_stays_the_same_object() -> None:
    models = [Model() for _ in range(6)]
    histories = [m.history for m in models]
    done = run(
        "out = []\nfor i, m in enumerate(models):\n    m.fit(i)\n    out.append(m)", settings(), models=models
    )
    assert done.reports[0]["mapped"] > 0
    assert all(a is b for a, b in zip(done.namespace["out"], models, strict=True))
    assert [m.history for m in models] == [[i] for i in range(6)]
    assert all(m.history is h for m, h in zip(models, histories, strict=True))
    assert [len(m.coef_) for m in models] == list(range(6))


def test_a_shared_part_changed_by_elements_falls_back_to_plain_order() -> None:
    log: list[int] = []
    models = [Model() for _ in range(6)]
    for m in models:
        m.shared = log
    done = run(
        "for i, m in enumerate(models):\n    hash_of(i)\n    m.shared.append(i)",
        settings(),
        models=models,
        hash_of=hash,
    )
    assert log == list(range(6))
    assert done.reports[0]["reason"]


def test_hidden_state_falls_back_to_plain_order() -> None:
    done = both(
        "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)\nout = []\nfor x in range(9):\n    out.append(f(x))"
    )
    assert done.reports[0]["mapped"] == 0
    assert "list" in done.reports[0]["reason"]


def test_an_alias_of_a_carried_list_falls_back() -> None:
    done = both("out = []\nother = out\nfor x in range(9):\n    out.append(len(other) + 'a'.__len__())")
    assert "another name" in done.reports[0]["reason"]


def test_a_seeded_generator_object_falls_back() -> None:
    both(
        "import numpy as np\nr = [np.random.default_rng(1)][0]\nout = []\nfor x in range(9):\n    out.append(r.normal())\nr = r.normal()"
    )


def test_results_that_belong_to_the_inputs_come_back_as_themselves() -> None:
    data = np.arange(40.0).reshape(8, 5)
    rows = [{"a": [1]} for _ in range(6)]
    done = run(
        "out, views = [], []\nfor i, r in enumerate(rows):\n    i.bit_length()\n    out.append(r['a'])\n    views.append(data[i, ::2])",
        settings(),
        rows=rows,
        data=data,
    )
    assert done.reports[0]["mapped"] > 0
    assert all(o is r["a"] for o, r in zip(done.namespace["out"], rows, strict=True))
    data[:] = 7
    assert all((v == 7).all() and v.strides == (16,) for v in done.namespace["views"])


def test_frames_rows_and_groups() -> None:
    frame = pd.DataFrame({"a": range(6), "b": list("xyzxyz")})
    done = both(
        "out = []\nfor r in frame.itertuples():\n    out.append(int(r.a) + len(r.b))\nfor i, r in frame.iterrows():\n    out.append(int(r['a']) + i.bit_length())",
        frame=frame,
    )
    assert all(r["mapped"] > 0 for r in done.reports)


def test_a_killed_child_only_costs_its_iterations() -> None:
    source = "import os\nout = []\nfor x in range(12):\n    if x in (4, 7) and os.getpid() != main:\n        os.kill(os.getpid(), 9)\n    out.append(x)\n    print(x)"
    done = run(source, settings(), main=os.getpid())
    assert done.namespace["out"] == list(range(12))
    assert done.printed.split() == [str(i) for i in range(12)]
    assert "died" in done.reports[0]["reason"]


def test_files_of_iterations_after_the_failing_one_are_taken_back(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("before")
    source = "for x in range(9):\n    with open(f'{folder}/{x}', 'w') as h:\n        h.write(str(x))\n    1 / (x - 4)"
    done = run(source, settings(workers=4), folder=str(tmp_path))
    assert done.error.startswith("ZeroDivisionError")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        **{str(i): str(i) for i in range(5)},
        "7": "before",
    }


def test_one_file_written_by_all_holds_what_the_last_wrote(tmp_path: Path) -> None:
    run(
        "for x in range(9):\n    with open(p, 'w') as h:\n        h.write(str(x))",
        settings(),
        p=str(tmp_path / "a"),
    )
    assert (tmp_path / "a").read_text() == "8"
    run(
        "for x in range(9):\n    with open(p, 'a') as h:\n        h.write(str(x))",
        settings(),
        p=str(tmp_path / "b"),
    )
    assert (tmp_path / "b").read_text() == "012345678"


def test_a_cheap_or_short_loop_stays_in_place() -> None:
    done = run("out = []\nfor x in range(2000):\n    out.append(hex(x).zfill(3))", settings(), asked=False)
    assert done.reports[0]["mapped"] == 0
    assert done.namespace["out"][-1] == "0x7cf"


def test_an_iterable_that_would_be_consumed_is_left_alone_or_refused_when_asked() -> None:
    source = "g = (i for i in range(9))\nout = []\nfor x in g:\n    out.append(abs(x).bit_length())"
    assert run(source, settings(), asked=False).namespace["out"] == [i.bit_length() for i in range(9)]
    assert "J2K367" in run(source, settings()).error


def test_without_workers_or_a_safe_fork_it_runs_in_place() -> None:
    source = "out = []\nfor x in range(9):\n    out.append(hex(x).zfill(4))"
    unsafe = settings(may_fork=lambda: False)
    for done in (run(source, settings(workers=1)), run(source, unsafe, asked=False)):
        assert done.reports[0]["mapped"] == 0
        assert done.reports[0]["reason"]
    assert "J2K367" in run(source, unsafe).error


def test_a_fork_that_its_first_iteration_has_made_unsafe_is_not_made() -> None:
    asked = iter([True])
    done = run(
        "out = []\nfor x in range(9):\n    out.append(hex(x).zfill(4))",
        settings(may_fork=lambda: next(asked, False)),
    )
    assert done.namespace["out"] == [hex(x).zfill(4) for x in range(9)]
    assert done.reports[0]["mapped"] == 0
    assert "since its first iterations" in done.reports[0]["reason"]


def test_a_child_that_stands_still_is_ended_and_its_iterations_run_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("STILL_SECONDS", "LOOK_SECONDS", "PATIENCE"):
        monkeypatch.setattr(mapwatch, name, 0.1)
    monkeypatch.setattr(mapparent, "LOOK_SECONDS", 0.05)
    source = (
        "import os, signal\nhere, out = os.getpid(), []\nfor x in range(9):\n"
        "    if x == 5 and os.getpid() != here:\n        signal.pause()\n    out.append(x)"
    )
    done = run(source, settings())
    assert done.namespace["out"] == list(range(9))
    assert "stood still" in done.reports[0]["reason"]


def test_finished_chunks_are_adopted_by_a_later_run(tmp_path: Path) -> None:
    source = "import os\nout = []\nfor x in range(9):\n    out.append((x, os.getpid()))"
    kept = settings(chunk_folder=str(tmp_path), chunk_key="k")
    first = run(source, kept)
    second = run(source, kept)
    assert second.reports[0]["adopted"] == first.reports[0]["chunks"] > 0
    assert second.namespace["out"][1:-2] == first.namespace["out"][1:-2]
    for torn in tmp_path.iterdir():
        torn.write_bytes(torn.read_bytes()[:10])
    assert [x for x, _ in run(source, kept).namespace["out"]] == list(range(9))


def children() -> set[str]:
    """Return the pids of this process's children, ended ones that nobody has waited for included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def test_an_interrupt_ends_the_children() -> None:
    source = "import os, signal\nfor x in range(6):\n    os.kill(main, signal.SIGINT) if x == 1 else None\n    str.zfill(*wait(x))"
    before = children()
    with pytest.raises(KeyboardInterrupt):
        run(source, settings(), main=os.getpid(), wait=lambda x: signal.pause() if x in (1, 2) else ("a", 1))
    assert children() <= before


def test_a_loop_inside_a_mapped_loop_runs_in_place_there() -> None:
    both(
        "def f(n):\n    out = []\n    for k in range(n):\n        out.append(hex(k).zfill(2))\n    return out\nr = []\nfor x in range(6):\n    r.append(f(x))"
    )


def test_a_comprehension_that_failed_inside_another_leaves_no_trace() -> None:
    both(
        """
        def g(x):
            try:
                return [hex(1 // (k - x)).zfill(2) for k in range(5)]
            except ZeroDivisionError:
                return x
        r = [g(x) for x in range(9)]
        """
    )


@pytest.mark.parametrize(
    "body",
    [
        "setenv('A_B_C', str(x))",
        "np.seterr(all='ignore' if x % 2 else 'warn')",
        "os.chdir('/' if x % 2 else home)",
    ],
)
def test_ambient_state_changed_by_an_iteration_falls_back(body: str) -> None:
    before = np.geterr(), os.getcwd()
    try:
        source = f"for x in range(6):\n    hash_(x)\n    {body}"
        done = run(
            source, settings(), os=os, np=np, home=os.getcwd(), hash_=hash, setenv=os.environ.__setitem__
        )
        assert done.reports[0]["mapped"] == 0
        assert done.reports[0]["reason"].startswith("changes")
    finally:
        np.seterr(**before[0])
        os.chdir(before[1])
        os.environ.pop("A_B_C", None)


def test_a_process_started_ahead_of_its_turn_is_stopped_before_it_acts() -> None:
    done = run("import subprocess\nfor x in range(6):\n    subprocess.run(['true'])", settings(), asked=False)
    assert not done.error


def test_two_children_do_not_draw_the_same_numbers() -> None:
    source = "import random\nout = []\nfor x in range(12):\n    out.append(random.random())"
    out = run(source, settings(workers=4)).namespace["out"]
    assert len(set(out)) == 12


def test_a_long_loop_is_mapped_by_its_own_pace() -> None:
    source = "import time\nfor x in range(20):\n    time.sleep(0.03)"
    done = run(source, settings(workers=4, threshold_seconds=0.2), asked=False)
    assert done.reports[0]["mapped"] > 10
    assert done.reports[0]["chunks"] > 1


def poke(array: Any, index: int, value: float) -> None:
    """Write as a C library does: by address."""
    ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_double))[index] = value


@pytest.mark.parametrize("where", ["array", "view", "first", "middle", "last"])
def test_a_write_to_a_large_shared_array_is_never_lost(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapstate, "HASHED", 1 << 16)
    place = {"first": 0, "middle": 5000, "last": 99_999}.get(where, 3)

    def given() -> dict[str, Any]:
        large = np.zeros(100_000)
        seen = {"large": large, "small": large[:9]}
        return {"poke": poke, "put": np.ndarray.__setitem__, **seen}

    write = {"array": "put(large, 3, x)", "view": "put(small, 3, x)"}.get(where, f"poke(large, {place}, x)")
    source = f"out = []\nfor x in range(8):\n    {write}\n    out.append(large.sum())"
    plain = run(source, None, **given())
    mapped = run(source, settings(), **given())
    assert mapped.namespace["large"][place] == plain.namespace["large"][place] == 7.0
    assert mapped.namespace["out"] == plain.namespace["out"]
    assert mapped.reports[0]["reason"]


def test_a_large_array_that_is_only_read_stands_in_no_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapstate, "HASHED", 1 << 16)
    large = np.arange(100_000.0)
    found = both("out = []\nfor x in range(9):\n    out.append(float(large[x:].sum()))", large=large, np=np)
    assert found.reports[0]["mapped"] >= 5
    assert large.flags.writeable


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module beside the notebook that keeps count."""
    (tmp_path / "helper_of_maps.py").write_text(
        "seen = 0\nkept = []\nclass Box:\n    n = 0\n"
        "def tally():\n    global seen\n    seen += 1\n    return seen\n"
        "def keep(x):\n    kept.append(x)\n    return len(kept)\n"
        "def box():\n    Box.n += 1\n    return Box.n\n"
        "def pure(x):\n    return x + seen\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "helper_of_maps", raising=False)
    return importlib.import_module("helper_of_maps")


@pytest.mark.parametrize("call", ["helper.tally()", "helper.keep(x)", "box()"])
def test_what_a_module_of_the_project_keeps_is_shared_state(call: str, helper: types.ModuleType) -> None:
    source = f"out = []\nfor x in range(8):\n    out.append({call})"
    mapped = run(source, settings(), helper=helper, box=helper.box)
    assert mapped.namespace["out"] == list(range(1, 9))
    assert helper.seen + len(helper.kept) + helper.Box.n == 8
    assert "other iterations share" in mapped.reports[0]["reason"]


def test_a_module_that_is_only_read_stands_in_no_way(helper: types.ModuleType) -> None:
    found = both("out = []\nfor x in range(9):\n    out.append(helper.pure(x))", helper=helper)
    assert found.reports[0]["mapped"] >= 5
