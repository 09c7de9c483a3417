"""What counts as a secret of the notebook, and where one is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from jup2kub.kernel import values
from jup2kub.kernel.confidential import HIDDEN, Secrets


def learned(**bound: object) -> Secrets:
    secrets = Secrets()
    secrets.learn(bound, bound, True)
    return secrets


def test_what_a_secret_cell_binds_is_secret_until_another_cell_binds_the_name() -> None:
    secrets = learned(word="hush-hush", pin=12, os=os)
    assert [secrets.named(n) for n in ("word", "pin", "os", "other")] == [True, True, False, False]
    secrets.learn({"pin": 13}, {"pin"}, False)
    assert not secrets.named("pin")
    assert secrets.within("Bearer hush-hush!")  # the text itself stays secret


def test_texts_are_hidden_longest_first_and_short_ones_not_looked_for() -> None:
    secrets = learned(words=["hush", {"k": b"hush-hush"}], short="abc")
    assert secrets.hide("a hush-hush, a hush, abc") == f"a {HIDDEN}, a {HIDDEN}, abc"


@pytest.mark.parametrize(
    "value",
    [
        "x hush-hush",
        ("a", {"b": ["hush-hush"]}),
        np.array(["hush-hush", "b"]),
        b"\x00hush-hush",
        {"hush-hush": 1},
    ],
    ids=["text", "nested", "array", "bytes", "key"],
)
def test_a_file_of_values_that_holds_one_is_known(value: object, tmp_path: Path) -> None:
    path = str(tmp_path / "values")
    values.dump({"v": value}, values.Definitions(), path)
    assert learned(word="hush-hush").in_file(path)
    assert not learned(word="another word").in_file(path)
    assert not Secrets().in_file(path)
