"""What a run has shown of the size of its pods: words, after it has ended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from jup2kub.manifests.spec import quantity
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Plan
from jup2kub.model.run import CellOutcome

STEP = 128 << 20
"""Bytes of which a size that is proposed is a multiple."""
SURPLUS = 1.2
"""Of the most that was seen: the next run's data may be a little larger."""
OWN = 128 << 20
"""Bytes that an agent itself takes beside its kernels."""
WORTH = 0.5
"""A smaller size is worth proposing below this share of what was asked for."""


def with_margin(plan: Plan, notebook: Notebook) -> Plan:
    """Return the plan with a margin on the memory that cells were seen to take: pods are asked for that much.

    What the user has said of a cell (`#| resources: memory=8Gi`) stays as it is.
    """
    said = {cell.index for cell in notebook.code if cell.options.memory}
    cells = [
        replace(cell, memory=math.ceil(cell.memory * SURPLUS))
        if cell.memory and cell.index not in said
        else cell
        for cell in plan.cells
    ]
    return replace(plan, cells=tuple(cells))


def right_size(outcomes: Iterable[CellOutcome], asked: int) -> str:
    """Return what to ask for next time, in words; empty = what was asked for is about right, or nothing is known.

    `asked`: bytes of a pod.
    """
    peaks = [(outcome.peak_bytes, outcome.index) for outcome in outcomes if outcome.peak_bytes]
    if not peaks:
        return ""
    most, cell = max(peaks)
    enough = math.ceil((most * SURPLUS + OWN) / STEP) * STEP
    seen = (
        f"pods ask for {quantity(asked)}; the most that a kernel took was {most / 1e6:.0f} MB, in cell {cell}"
    )
    if enough < asked * WORTH:
        return f"{seen}: `--memory {quantity(enough)}` would do"
    if enough > asked:
        return f"{seen}: `--memory {quantity(enough)}` spares it from running out"
    return ""
