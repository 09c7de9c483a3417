"""A kernel that starts while the notebook is still being read: starting takes longer than anything before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from jup2kub.agent.kernel import Kernel
from jup2kub.agent.launch import Launch, find
from jup2kub.errors import EnvironmentProblem


class Early:
    """The start of the kernel called `name`, if there is one."""

    def __init__(self, name: str, folder: str) -> None:
        self.launch: Launch | None = None
        self._starting: asyncio.Task[Kernel] | None = None
        with contextlib.suppress(EnvironmentProblem):
            self.launch = find(name, cwd=folder)
            if self.launch.is_ipython:
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


def peek(path: Path) -> str:
    """Return the kernel that a notebook names, from a quick look; empty if the look tells nothing."""
    try:
        metadata = json.loads(path.read_bytes())["metadata"]
        return str(metadata.get("kernelspec", {}).get("name", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
