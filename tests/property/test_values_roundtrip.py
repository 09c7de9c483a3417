"""Invariants of saving, loading and fingerprinting, over random structures with sharing and views."""

import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jup2kub.kernel import prints, values
from jup2kub.kernel.values import Definitions

ATOM = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.just(np.nan),
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def arrays(draw):
    """Views of a few owners, sliced with any step."""
    owner = np.arange(24.0).reshape(draw(st.sampled_from([(24,), (4, 6), (2, 3, 4)])))
    found = [owner]
    for _ in range(draw(st.integers(0, 3))):
        steps = st.sampled_from([slice(None), slice(None, None, -1), slice(1, None), slice(0, None, 2)])
        found.append(found[draw(st.integers(0, len(found) - 1))][tuple(draw(steps) for _ in owner.shape)])
    return found


@st.composite
def groups(draw):
    """Names whose values refer to each other's parts."""
    pool = [*draw(st.lists(ATOM, max_size=5)), *draw(arrays())]
    for _ in range(draw(st.integers(1, 8))):
        members = draw(st.lists(st.sampled_from(range(len(pool))), max_size=4))
        kind = draw(st.sampled_from(["list", "tuple", "dict", "set", "frozenset"]))
        chosen = [pool[i] for i in members]
        if kind in ("set", "frozenset"):
            made = {"set": set, "frozenset": frozenset}[kind](
                draw(st.sets(st.integers() | st.text(max_size=3)))
            )
        elif kind == "dict":
            made = {f"k{i}": item for i, item in enumerate(chosen)}
        else:
            made = {"list": list, "tuple": tuple}[kind](chosen)
        pool.append(made)
    return {f"n{i}": value for i, value in enumerate(pool[-6:])}


def travel(named):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "group")
        values.dump(named, Definitions(), path)
        return values.load(path, Definitions())


def same(one, other, seen):
    """Equal values, equally shared, in the same order and layout."""
    assert type(one) is type(other)
    if isinstance(one, (list, dict, np.ndarray, tuple)) and one is not other:
        assert seen.setdefault(id(one), id(other)) == id(other)
    if isinstance(one, np.ndarray):
        assert one.shape == other.shape
        assert one.strides == other.strides or one.size == 0  # nothing lies anywhere
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        [same(one[k], other[k], seen) for k in one]
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        [same(a, b, seen) for a, b in zip(one, other, strict=True)]
    elif isinstance(one, (set, frozenset)):
        assert list(one) == list(other)
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
        assert (one is np.nan) == (other is np.nan)
    else:
        assert one == other


def reach(value, seen):
    """Every list, dictionary, set and array in `value`."""
    if id(value) in seen:
        return
    if isinstance(value, (list, dict, set, np.ndarray)):
        seen[id(value)] = value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in parts:
        reach(part, seen)


@FEW
@given(groups())
def test_what_is_loaded_is_what_was_saved(named):
    back = travel(named)
    assert list(back) == list(named)
    seen = {}
    for name in named:
        same(named[name], back[name], seen)
    assert {n: prints.digest(v) for n, v in named.items()} == {n: prints.digest(v) for n, v in back.items()}


@FEW
@given(groups())
def test_memory_is_shared_after_loading_exactly_as_before(named):
    back = travel(named)
    old, new = {}, {}
    for name in named:
        reach(named[name], old)
        reach(back[name], new)
    before = [v for v in old.values() if isinstance(v, np.ndarray)]
    after = [v for v in new.values() if isinstance(v, np.ndarray)]
    assert len(before) == len(after)
    for i, one in enumerate(before):
        for j in range(i):
            assert np.may_share_memory(one, before[j]) == np.may_share_memory(after[i], after[j])


@FEW
@given(groups(), st.data())
def test_a_change_of_any_part_changes_the_fingerprint_and_reading_does_not(named, data):
    taken = prints.take(named)
    assert prints.take(named).digests == taken.digests
    name = data.draw(st.sampled_from(sorted(named)))
    parts = {}
    reach(named[name], parts)
    if not parts:
        return
    part = data.draw(st.sampled_from(list(parts.values())))
    if isinstance(part, np.ndarray):
        if part.size == 0:
            return
        part.flat[data.draw(st.integers(0, part.size - 1))] += 1000
    elif isinstance(part, list):
        part.append("new")
    elif isinstance(part, dict):
        part["new"] = 1
    else:
        part.add("a new one")
    assert name in prints.changed(taken, prints.take(named), named)[0]
