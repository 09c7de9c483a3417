"""Fresh kernels that wait for work: starting one takes longer than many a step, and can be done while others compute."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from jup2kub.agent.kernel import Kernel


class Reserve:
    """Kernels that have run nothing. `start` gives one more."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Kernel]]) -> None:
        self._start = start
        self._waiting: deque[asyncio.Task[Kernel]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, number: int) -> None:
        """Let `number` kernels wait, or be on their way."""
        while len(self._waiting) < number:
            self._waiting.append(asyncio.ensure_future(self._start()))

    async def take(self) -> Kernel:
        """Return a kernel that has run nothing, the first that is ready. Raises EnvironmentProblem."""
        while self._waiting:
            await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
            started = next((task for task in self._waiting if task.done()), None)
            if started is None:
                continue  # somebody else took it meanwhile
            self._waiting.remove(started)
            kernel = started.result()
            if not kernel.dead.done():
                return kernel
            await kernel.close()
        return await self._start()

    async def stop(self) -> None:
        """End those that nobody has taken, whether they have started or not."""
        waiting, self._waiting = self._waiting, deque()
        for starting in waiting:
            starting.cancel()
        for kernel in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(kernel, Kernel):
                kernel.kill()
                await kernel.close()
