"""Kernels that wait for work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from jup2kub.agent.kernel import Kernel, RunCell
from jup2kub.agent.launch import find
from jup2kub.engine.reserve import Reserve

pytestmark = pytest.mark.kernel


def with_reserve(folder: Path, body: Callable[[Reserve, list[Kernel]], Awaitable[None]]) -> list[Kernel]:
    """Run `body` with a reserve; return all kernels that were started."""
    started: list[Kernel] = []

    async def start() -> Kernel:
        started.append(await Kernel.start(find("python3", cwd=str(folder))))
        return started[-1]

    async def run() -> None:
        reserve = Reserve(start)
        try:
            await asyncio.wait_for(body(reserve, started), 60)
        finally:
            await reserve.stop()

    asyncio.run(run())
    return started


def test_a_kernel_that_waits_is_taken_before_one_is_started(tmp_path: Path) -> None:
    """And one that has died meanwhile is not."""

    async def body(reserve: Reserve, started: list[Kernel]) -> None:
        reserve.keep(2)
        reserve.keep(2)
        first = await reserve.take()
        assert first in started
        assert len(reserve) == 1
        while len(started) < 2:
            await asyncio.sleep(0.01)
        (second,) = (kernel for kernel in started if kernel is not first)
        second.kill()
        await second.dead
        third = await reserve.take()
        assert third is started[2]
        assert (await third.run(RunCell(0, 1, "1 + 1"))).status == "ok"
        for kernel in (first, third):
            await kernel.close()

    assert len(with_reserve(tmp_path, body)) == 3


def test_those_that_nobody_takes_are_ended(tmp_path: Path) -> None:
    """Whether they have started or are on their way."""

    async def body(reserve: Reserve, started: list[Kernel]) -> None:
        reserve.keep(1)
        while not started:
            await asyncio.sleep(0.01)
        reserve.keep(2)

    assert all(kernel.dead.done() for kernel in with_reserve(tmp_path, body))
