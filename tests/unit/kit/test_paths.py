"""Which paths may be one file."""

from __future__ import annotations

import pytest

from jup2kub.kit.paths import overlap


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.csv", "a.csv", True),
        ("a.csv", "./a.csv", True),
        ("a.csv", "b.csv", False),
        ("*", "b.csv", True),
        ("out/*.csv", "out/3.csv", True),
        ("out/*.csv", "in/3.csv", False),
        ("out/*.csv", "out/*.png", False),
        ("out", "out/3.csv", True),
        ("/data/a.csv", "a.csv", True),
        ("/data/a.csv", "b.csv", False),
        ("arr", "arr.npy", True),
    ],
)
def test_paths_that_may_be_one_file(one: str, other: str, same: bool) -> None:
    assert overlap(one, other) is same
    assert overlap(other, one) is same
