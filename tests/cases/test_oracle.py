"""Each case tells the truth: the order it states is enough for every cell, and no stated edge could be left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .loader import Case, load_cases
from .oracle import Replayer, judge


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    replayer = Replayer()
    yield replayer
    replayer.close()


@pytest.mark.parametrize("case", load_cases(), ids=lambda c: c.name)
def test_stated_order_is_enough_and_needed(case: Case, replayer: Replayer) -> None:
    verdict = judge(case, replayer)
    assert verdict.right, verdict


def test_there_are_enough_cases() -> None:
    assert len(load_cases()) >= 170
