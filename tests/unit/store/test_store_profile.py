"""What is believed of a cell after it was seen again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jup2kub.errors import StoreProblem
from jup2kub.model.facts import Facts
from jup2kub.store.disk import Disk
from jup2kub.store.profile import Profiles, merge


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def test_the_newest_observation_wins_and_times_are_means() -> None:
    old = Facts(
        bound=names("a"), mutated=names("x"), seconds=8, cpu_seconds=4, save_seconds=1, sizes={"a": 9}
    )
    merged = merge(old, Facts(bound=names("b"), unchanged=names("x"), seconds=4, cpu_seconds=2))
    assert (merged.bound, merged.mutated, merged.unchanged) == (names("b"), names(), names("x"))
    assert (merged.seconds, merged.cpu_seconds) == (6, 3)
    assert (merged.save_seconds, merged.sizes) == (1, {"a": 9})
    assert merge(None, old) == old


def test_a_misprediction_holds_for_ever() -> None:
    wrong = Facts(bound=names("a"), mutated=names("df"), aliases=(names("a", "b"),), mispredicted=True)
    merged = merge(None, wrong)
    for _ in range(5):
        merged = merge(
            merged, Facts(bound=names("c"), unchanged=names("df", "z"), aliases=(names("a"), names("c", "d")))
        )
    assert merged.mispredicted
    assert (merged.bound, merged.mutated, merged.unchanged) == (names("a", "c"), names("df"), names("z"))
    assert merged.aliases == (names("a", "b"), names("c", "d"))


def test_a_misprediction_keeps_what_was_seen_before_it() -> None:
    merged = merge(
        Facts(mutated=names("x"), effects=names("network")), Facts(mutated=names("y"), mispredicted=True)
    )
    assert (merged.mutated, merged.effects) == (names("x", "y"), names("network"))


def test_an_execution_that_raised_adds_to_a_complete_one_only() -> None:
    whole = Facts(bound=names("a"), unchanged=names("x", "y"), seconds=9)
    merged = merge(whole, Facts(mutated=names("x"), seconds=1, raised=True))
    assert merged == Facts(bound=names("a"), mutated=names("x"), unchanged=names("y"), seconds=9)
    assert merge(Facts(raised=True, seconds=1), whole) == whole


def profiles(folder: Path) -> tuple[Profiles, dict[str, str]]:
    ignored: dict[str, str] = {}
    return Profiles(Disk(durable=False), folder, ignored), ignored


def test_a_profile_is_readable_and_may_be_edited(tmp_path: Path) -> None:
    found, ignored = profiles(tmp_path)
    found.learn("cell-key", Facts(bound=names("a"), seconds=2.0))
    path = tmp_path / "ce" / "cell-key.json"
    text = json.loads(path.read_text())
    assert (text["bound"], text["seconds"]) == (["a"], 2.0)
    path.write_text(json.dumps({"seconds": 7}))
    assert found["cell-key"] == Facts(seconds=7.0)
    assert ignored == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"secnds": 1}', '{"seconds": "long"}'])
def test_what_does_not_parse_is_ignored_with_a_reason(tmp_path: Path, text: str) -> None:
    found, ignored = profiles(tmp_path)
    found.learn("cell-key", Facts(seconds=2.0))
    (tmp_path / "ce" / "cell-key.json").write_text(text)
    assert "cell-key" not in found
    assert list(found) == []
    assert list(ignored) == ["profile/cell-key"]
    found.learn("cell-key", Facts(seconds=3.0))
    assert found["cell-key"] == Facts(seconds=3.0)


@pytest.mark.parametrize("key", ["", "a", "../../x", ".hidden", "a/b/c/d"])
def test_a_key_is_no_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreProblem):
        profiles(tmp_path)[0].learn(key, Facts())
