"""Notebooks of other languages: one serial main line in their own kernel, by nbclient."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from jup2kub.agent.session import Told
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.notebook import Notebook
from jup2kub.model.run import CellError, CellOutcome


async def run(
    notebook: Notebook, kernel: str, folder: str, *, keep_going: bool, tell: Callable[[Told], None]
) -> tuple[dict[int, CellOutcome], int | None]:
    """Run all code cells in order; return their outcomes, and the cell that ended the notebook or None.

    A kernel that dies while it runs a cell ends the notebook there. Raises EnvironmentProblem (J2K402) if it does not
    start.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    document = nbformat.from_dict(copy.deepcopy(dict(notebook.document)))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        document, kernel_name=kernel, timeout=None, resources={"metadata": {"path": folder}}
    )
    outcomes: dict[int, CellOutcome] = {}
    stopped: int | None = None
    async with _kernel(client, kernel):
        for count, cell in enumerate(notebook.code, 1):
            tell(Told("start", cell.index))
            began, start = time.monotonic(), time.time()
            node = document["cells"][cell.index]
            died = False
            try:
                await client.async_execute_cell(node, cell.index, execution_count=count)
            except CellExecutionError:
                pass
            except DeadKernelError as error:
                this = asyncio.current_task()
                if this is not None and this.cancelling():  # nbclient says the same when it is interrupted
                    raise asyncio.CancelledError from error
                died = True
                why = f"the kernel died while it ran cell {cell.index}"
                last = {
                    "output_type": "error",
                    "ename": "DeadKernelError",
                    "evalue": why,
                    "traceback": [why],
                }
                node["outputs"].append(nbformat.from_dict(last))  # type: ignore[no-untyped-call]
            outcome = _outcome(cell.index, count, node["outputs"], start, time.monotonic() - began)
            outcomes[cell.index] = outcome
            tell(Told("done", cell.index, seconds=outcome.seconds))
            if died or (outcome.status == "error" and not cell.may_raise):
                stopped = cell.index
                break
    if keep_going and stopped is not None:
        # What depends on the failed cell is not known, so everything may.
        later = [c.index for c in notebook.code if c.index > stopped]
        outcomes.update({i: CellOutcome(index=i, status="blocked") for i in later})
    return outcomes, stopped


@contextlib.asynccontextmanager
async def _kernel(client: Any, name: str) -> AsyncIterator[None]:
    """Start the client's kernel, and end it whatever happens. Raises EnvironmentProblem (J2K402) if it does not start.

    nbclient's own context would take Ctrl-C and requests to end for itself, and say that the kernel has died.
    """
    client.create_kernel_manager()
    try:
        try:
            await client.async_start_new_kernel()
            await client.async_start_new_kernel_client()
        except (RuntimeError, OSError) as error:
            raise EnvironmentProblem(
                "J2K402", f"the kernel {name!r} does not run: {error}", "see whether it runs in Jupyter"
            ) from error
        yield
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if client.km is not None and client.km.has_kernel:  # None: nbclient has seen to it
            await client.km.shutdown_kernel(now=True)


def _outcome(
    index: int, count: int, outputs: list[Mapping[str, Any]], start: float, seconds: float
) -> CellOutcome:
    failure = next((o for o in outputs if o["output_type"] == "error"), None)
    error = None
    if failure is not None:
        error = CellError(failure["ename"], failure["evalue"], tuple(failure["traceback"]))
    return CellOutcome(
        index=index,
        status="ok" if error is None else "error",
        outputs=tuple(dict(o) for o in outputs),
        count=count,
        worker="main",
        start=start,
        seconds=seconds,
        error=error,
    )
