"""Any loop that is taken for a map gives what plain Python gives: names, outputs, exceptions, whoever dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jup2kub.kernel import maps

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "kernel"))
from maphelp import run, visible

VALUES = st.sampled_from(
    ["x", "x * 0.1", "f(x)", "f(x) / (x - 3)", "[x, f(x)]", "str(x)", "1e17 * f(x)", "y", "f(y)"]
)
NUMBERS = st.sampled_from(["x", "x * 0.1", "f(x)", "f(x) / (x - 3)", "1e17 * f(x)", "-f(x)"])
STATEMENTS = st.one_of(
    VALUES.map("out.append({})".format),
    VALUES.map("d[x % 3] = {}".format),
    VALUES.map("g.setdefault(x % 2, []).append({})".format),
    NUMBERS.map("t += {}".format),
    NUMBERS.map("c[x % 4] += {}".format),
    NUMBERS.map("m = max(m, {})".format),
    NUMBERS.map("s = {}\nif s > best:\n    best, arg = s, x".format),
    NUMBERS.map("seen.add({})".format),
    VALUES.map("y = {}".format),
    VALUES.map("print({})".format),
    VALUES.map("if x % 2:\n    z = {}".format),
    st.sampled_from(
        ["if x % 5 == 4:\n    continue", "e[0] = f(x)", "die(x)", "hidden(x)", "v = len(out)", "w = w + 1"]
    ),
)
HEAD = """
import os
from collections import defaultdict
calls = []
def f(x):
    return x * 1.1 if isinstance(x, (int, float)) else 0
def hidden(x):
    calls.append(x)
def die(x):
    if x == victim and os.getpid() != main:
        os.kill(os.getpid(), 9)
out, d, g, t, m, best, arg, seen, y, w = [], {1: 0}, {}, 0.1, 2, -1.0, None, set(), 1, 0
c = defaultdict(float)
"""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.lists(STATEMENTS, min_size=1, max_size=5),
    data=st.lists(st.integers(-2, 9), max_size=9),
    workers=st.integers(2, 4),
    seconds=st.sampled_from([0.0, 0.5]),
    victim=st.integers(-2, 9),
    function=st.booleans(),
)
def test_mapped_loops_equal_plain_ones(
    body: list[str], data: list[int], workers: int, seconds: float, victim: int, function: bool
) -> None:
    names = "out, d, g, t, m, best, arg, seen, y, w, c"
    loop = "for x in data:\n    f(x)\n" + "".join(
        "    " + line + "\n" for s in body for line in s.split("\n")
    )
    if function:
        inner = "".join("    " + line + "\n" for line in loop.splitlines())
        loop = (
            f"def go({names}, z=0):\n{inner}    return {names}, z, locals().get('x')\nresult = go({names})\n"
        )
    else:
        loop += "print(out)\n"
    source = HEAD + loop
    given_names = {"data": data, "victim": victim, "main": os.getpid()}
    plain = run(source, None, **given_names)
    mapped = run(source, maps.MapSettings(workers=workers, chunk_seconds=seconds), **given_names)
    assert mapped.error == plain.error
    assert mapped.printed == plain.printed
    before, after = visible(plain.namespace), visible(mapped.namespace)
    for skipped in ("os", "defaultdict"):
        before.pop(skipped, None)
        after.pop(skipped, None)
    assert repr(after) == repr(before)
