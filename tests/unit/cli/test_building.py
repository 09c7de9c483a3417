"""What a build says on its way."""

from __future__ import annotations

import pytest

from jup2kub.cli.building import Teller
from jup2kub.images.spec import Told


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("jup2kub: ") for line in capsys.readouterr().err.splitlines()]


def test_what_takes_long_is_told_now_and_then_with_bytes_and_what_does_not_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    teller = Teller(lambda: now)
    for done in range(0, 101, 10):
        teller(Told("writing numpy", done * 10**6, 100 * 10**6))
        teller(Told("writing a small one", 5, 5))
        now += 0.5
    assert lines(capsys) == [
        "writing numpy: 40.0 MB of 100.0 MB",
        "writing numpy: 80.0 MB of 100.0 MB",
        "writing numpy: 100.0 MB of 100.0 MB",
    ]


def test_what_is_done_is_told_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    teller = Teller(lambda: 0.0)
    teller(Told("locking the environment"))
    teller(Told("layer numpy", 2_500_000))
    teller(Told("layer numpy", 2_500_000))
    assert lines(capsys) == ["locking the environment", *["layer numpy: 2.5 MB"] * 2]
