"""Notebooks of other languages: one serial main line in their own kernel, by nbclient."""

from __future__ import annotations

import atexit
import contextlib
import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.agent.session import Told
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.notebook import Notebook
from jup2kub.model.run import CellError, CellOutcome


async def run(
    notebook: Notebook, kernel: str, folder: str, *, keep_going: bool, tell: Callable[[Told], None]
) -> tuple[dict[int, CellOutcome], int | None]:
    """Run all code cells in order; return their outcomes, and the cell that ended the notebook or None.

    Raises EnvironmentProblem (J2K402) if the kernel does not start.
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
    try:
        async with client.async_setup_kernel():
            for count, cell in enumerate(notebook.code, 1):
                tell(Told("start", cell.index))
                began, start = time.monotonic(), time.time()
                node = document["cells"][cell.index]
                with contextlib.suppress(CellExecutionError):
                    await client.async_execute_cell(node, cell.index, execution_count=count)
                outcome = _outcome(cell.index, count, node["outputs"], start, time.monotonic() - began)
                outcomes[cell.index] = outcome
                tell(Told("done", cell.index, seconds=outcome.seconds))
                if outcome.status == "error" and not cell.may_raise:
                    stopped = cell.index
                    break
    except (DeadKernelError, RuntimeError, OSError) as error:
        raise EnvironmentProblem(
            "J2K402", f"the kernel {kernel!r} does not run: {error}", "see whether it runs in Jupyter"
        ) from error
    finally:
        # Of a kernel that did not start nbclient would try to be rid of at the end of the process.
        atexit.unregister(client._cleanup_kernel)
    if keep_going and stopped is not None:
        # What depends on the failed cell is not known, so everything may.
        later = [c.index for c in notebook.code if c.index > stopped]
        outcomes.update({i: CellOutcome(index=i, status="blocked") for i in later})
    return outcomes, stopped


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
