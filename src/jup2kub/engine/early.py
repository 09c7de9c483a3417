"""A kernel that starts while the notebook is still being read: starting takes longer than anything before it."""

from __future__ import annotations

import asyncio
import contextlib

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.launch import Launch, find
from jup2kub.agent.spawn import Spawned
from jup2kub.errors import EnvironmentProblem


class Early:
    """The start of the kernel called `name`, if there is one. `ahead`: a process that may be that kernel already."""

    def __init__(self, name: str, folder: str, ahead: Spawned | None = None) -> None:
        self.launch: Launch | None = None
        self._starting: asyncio.Task[Kernel] | None = None
        with contextlib.suppress(EnvironmentProblem):
            self.launch = find(name, cwd=folder)
            if ahead is not None and ahead.launch == self.launch:
                self._starting = asyncio.ensure_future(Kernel.greet(ahead))
            elif self.launch.is_ipython:
                self._starting = asyncio.ensure_future(Kernel.start(self.launch))

    async def kernel(self, launch: Launch) -> asyncio.Task[Kernel]:
        """Return the start under way if it is `launch` that starts, else a new one."""
        if self._starting is None or self.launch != launch:
            await self.abandon()
            self._starting = asyncio.ensure_future(Kernel.start(launch))
        return self._starting

    async def abandon(self) -> None:
        """End what has been started, or is starting: nothing is to be run. Safe to call twice."""
        if self._starting is not None:
            with contextlib.suppress(EnvironmentProblem):
                await (await asyncio.shield(self._starting)).close()
