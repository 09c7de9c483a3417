"""What is known of the machine's memory, and of kernels that died for want of it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import pytest

from jup2kub.agent import memory
from jup2kub.agent.kernel import Kernel, KernelDied, RunCell
from jup2kub.agent.launch import find


def test_the_tighter_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available() == 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.available() == 4_096_000
    (tmp_path / "memory.max").write_text("3000\n")
    assert memory.available() == 2000
    (tmp_path / "memory.events").write_text("oom 3\noom_kill 2\n")
    assert memory.kills() == 2


@pytest.mark.kernel
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_a_kernel_that_the_system_killed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaths() -> list[KernelDied]:
        found = []
        for counts in (itertools.repeat(3), itertools.count()):
            monkeypatch.setattr(memory, "kills", lambda counts=counts: next(counts))
            kernel = await Kernel.start(find("", cwd=str(tmp_path)))
            with pytest.raises(KernelDied) as died:
                await kernel.run(RunCell(4, 1, "import os; os.kill(os.getpid(), 9)"))
            found.append(died.value)
            await kernel.close()
        return found

    murdered, starved = asyncio.run(deaths())
    assert not murdered.death.memory
    assert starved.death.memory
    assert "while it ran cell 4: memory ran out" in starved.message
