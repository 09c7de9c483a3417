"""What waits for a store that is elsewhere does not stop the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from jup2kub.agent.aside import Aside, InTurn, at_once, in_thread


def test_the_loop_goes_on_and_what_was_asked_first_is_done_first() -> None:
    gate, done = threading.Event(), list[str]()

    def slow(name: str) -> str:
        assert gate.wait(10)
        done.append(name)
        return name.upper()

    async def main() -> list[str]:
        aside = InTurn()
        first = asyncio.ensure_future(aside(slow, "a"))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(aside(slow, "b"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert done == []
        gate.set()
        return [await second, await first]

    assert asyncio.run(main()) == ["B", "A"]
    assert done == ["a", "b"]


def test_who_is_cancelled_goes_on_when_it_has_ended_and_an_error_is_no_ones_then() -> None:
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert gate.wait(10)
        ended.set()
        raise OSError("the server is away")

    async def main() -> bool:
        task = asyncio.ensure_future(in_thread(slow))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended.is_set()

    assert asyncio.run(main())


async def _run(how: Aside, act: Callable[[int], int]) -> int:
    return await how(act, 0)


def test_here_it_is_done_at_once_and_raises_what_it_raises() -> None:
    def act(number: int) -> int:
        return 6 // number

    assert asyncio.run(at_once(act, 2)) == 3
    for how in (at_once, in_thread, InTurn()):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(_run(how, act))
