"""Copies of a kernel that wait for a lock that nobody holds are found, ended, and remembered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jup2kub.agent.kernel import Kernel, KernelDied, RunCell
from jup2kub.agent.launch import find
from jup2kub.cli.main import main
from jup2kub.engine import watch
from jup2kub.store.memory import MemoryStore

pytestmark = pytest.mark.kernel

FRAGILE = """
import os, threading
_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: _lock.acquire(blocking=False))

def work(rounds):
    with _lock:
        return sum(i * i for i in range(rounds))
"""
"""A module whose lock is taken for ever in every copy of the process."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 1.5)
    monkeypatch.setattr(watch, "LOOK", 0.1)


def with_kernel(folder: Path, body: Callable[[Kernel], Awaitable[None]]) -> None:
    """Run `body` with a kernel in a folder that holds the module `fragile`."""
    (folder / "fragile.py").write_text(FRAGILE)

    async def run() -> None:
        kernel = await Kernel.start(find("python3", cwd=str(folder)))
        try:
            await asyncio.wait_for(body(kernel), 60)
        finally:
            await kernel.close()

    asyncio.run(run())


def test_a_copy_that_stands_still_is_ended_and_remembered(tmp_path: Path) -> None:
    """Also by a run that comes later, with the same store."""
    store, said = MemoryStore(), list[str]()

    async def body(kernel: Kernel) -> None:
        await kernel.run(RunCell(0, 1, "import fragile"))
        guard = watch.Watch(store, said.append)
        copy = await kernel.fork()
        assert not guard.forbids(copy)
        guard.begin(copy)
        with pytest.raises(KernelDied):
            await copy.run(RunCell(1, 2, "fragile.work(10)"))
        await copy.close()
        assert len(said) == 1
        assert "lock" in said[0]
        again = await kernel.fork()
        assert guard.forbids(again)
        assert watch.Watch(store, said.append).forbids(again)
        again.kill()
        await again.close()

    with_kernel(tmp_path, body)
    store.close()


@pytest.mark.parametrize("cell", ["import time; time.sleep(3)", "sum(range(60_000_000))"])
def test_a_copy_that_sleeps_or_computes_is_left_alone(tmp_path: Path, cell: str) -> None:
    """And is trusted from then on."""
    store, said = MemoryStore(), list[str]()

    async def body(kernel: Kernel) -> None:
        guard = watch.Watch(store, said.append)
        copy = await kernel.fork()
        guard.begin(copy)
        assert (await copy.run(RunCell(1, 2, cell))).status == "ok"
        guard.proved(copy)
        assert not guard.forbids(copy)
        assert [key for key in store.profile() if key.startswith("fork-")]
        await copy.close()

    with_kernel(tmp_path, body)
    assert said == []
    store.close()


def test_a_run_goes_on_in_fresh_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost but time, and the next run does not fork at all."""
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "fragile.py").write_text(FRAGILE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "libraries"))
    table = tmp_path / "table.json"
    functions = {"fragile.work": {"result": "atom", "weight": 5}}
    table.write_text(json.dumps({"packages": {"fragile": {"pure": True}}, "functions": functions}))
    cells = [
        "import fragile",
        "a = fragile.work(2_000_000)",
        "b = fragile.work(2_000_001)",
        "c = fragile.work(1_000_000)",
        "print(a, b, c)",
    ]
    v4: Any = nbformat.v4
    source, out = tmp_path / "nb.ipynb", tmp_path / "out.ipynb"
    source.write_text(v4.writes(v4.new_notebook(cells=[v4.new_code_cell(c) for c in cells])))
    words = ["run", str(source), "-o", str(out), "--store", str(tmp_path / "store"), "--offload", "all"]
    words += ["--annotations", str(table), "--workers", "2"]
    squares = [sum(i * i for i in range(n)) for n in (2_000_000, 2_000_001, 1_000_000)]
    for number, wanted in enumerate(("stood still for", "stood still before")):
        assert main([*words, "--fresh"][: len(words) + number]) == 0
        assert wanted in capfd.readouterr().err
        done = json.loads(out.read_text())["cells"]
        assert "".join(done[4]["outputs"][0]["text"]).split() == [str(s) for s in squares]
        assert done[1]["metadata"]["jup2kub"]["where"] == "step"
