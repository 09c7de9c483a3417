"""What a cell shows is stored with its result: not if a secret of the notebook stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jup2kub.agent.kernel import CellResult, Kernel

SHOWN = "the output of its cell shows a secret, so nothing of it is stored"


async def shows_secret(kernel: Kernel, result: CellResult) -> bool:
    """Return whether a secret stands in the outputs of an execution. Raises KernelDied."""
    if not result.extra.get("confidential") or result.leaving:
        return False
    return await kernel.reveals(_texts([*result.outputs, *result.updates]))


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, (list, tuple)):
        if part and all(isinstance(p, str) for p in part):
            yield "".join(part)
        else:
            for value in part:
                yield from _texts(value)
