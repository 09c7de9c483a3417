"""The life of a main line: when its kernel may go."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from jup2kub.agent.mainline import MainLine, Stop
from jup2kub.engine.lives import live


class Line:
    """A main line whose copies have saved everything only after `before`, and which ends by `error`."""

    def __init__(self, before: asyncio.Event, error: BaseException | None = None) -> None:
        self.told: list[str] = []
        self.gone = asyncio.Event()
        self.keeper = self.kernel = self
        self._before, self._error = before, error

    async def drive(self) -> None:
        if self._error is not None:
            raise self._error

    async def finish(self) -> None:
        await asyncio.wait_for(self._before.wait(), 10)
        self.told.append("saved")

    async def stop(self) -> None:
        self.told.append("given up")
        self._before.set()

    async def close(self, **more: Any) -> None:
        self.told.append("left")
        self.gone.set()


def test_kernel_of_a_finished_notebook_leaves_while_its_copies_save() -> None:
    """They save only after it has gone: one after the other would never end."""

    async def check() -> list[str]:
        line = Line(asyncio.Event())
        line._before = line.gone
        await live(cast(MainLine, line))
        return line.told

    assert asyncio.run(check()) == ["left", "saved"]


@pytest.mark.parametrize("error", [Stop(3), asyncio.CancelledError()], ids=["raised", "interrupted"])
def test_kernel_of_any_other_is_left_to_who_knows_why(error: BaseException) -> None:
    """What ends with it depends on how the notebook ended."""

    async def check() -> list[str]:
        before = asyncio.Event()
        if isinstance(error, Stop):
            before.set()
        line = Line(before, error)
        with pytest.raises(type(error)):
            await live(cast(MainLine, line))
        return line.told

    assert asyncio.run(check()) == (["saved"] if isinstance(error, Stop) else ["given up", "saved"])
