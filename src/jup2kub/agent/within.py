"""A cell and the time that it may take."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

from jup2kub.agent.kernel import CellResult, Kernel, KernelDied, RunCell
from jup2kub.model.facts import Facts
from jup2kub.model.plan import CellPlan

GRACE = 5.0
"""Seconds between the interrupt of a cell that is over its time and the kill."""


async def within(kernel: Kernel, request: RunCell, cell: CellPlan) -> CellResult:
    """Run a cell; one that takes longer than it may is interrupted, then killed. Raises KernelDied."""
    if cell.timeout is None:
        return await kernel.run(request)
    running = asyncio.ensure_future(kernel.run(request))
    done, _ = await asyncio.wait({running}, timeout=cell.timeout)
    if done:
        return running.result()
    stacks = await kernel.stacks()
    kernel.interrupt()
    done, _ = await asyncio.wait({running}, timeout=GRACE)
    if not done:
        kernel.kill()
        with contextlib.suppress(KernelDied):
            await running
    return overdue(cell, running.result() if done else None, stacks)


def overdue(cell: CellPlan, result: CellResult | None, stacks: str) -> CellResult:
    """Return the result of a cell that was stopped because its time was over."""
    text = f"cell {cell.index} ran longer than its {cell.timeout:g} s; it was here:\n{stacks}"
    error = {"ename": "TimeoutError", "evalue": f"more than {cell.timeout:g} s", "traceback": [text]}
    outputs: tuple[dict[str, Any], ...] = ()
    base: CellResult | None = result
    if base is not None:
        outputs = tuple(o for o in base.outputs if o.get("output_type") != "error")
    shown = (*outputs, {"output_type": "error", **error})
    if base is None:
        return CellResult(cell.index, "timeout", shown, (), error, Facts(), cell.timeout or 0.0)
    return replace(base, status="timeout", outputs=shown, error=error)
