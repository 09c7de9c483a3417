"""Outcomes of cells to the executed notebook: the document that Jupyter would have left."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jup2kub.model.notebook import Cell, Notebook
from jup2kub.model.run import CellError, CellOutcome

_DISPLAYS = ("display_data", "execute_result")
_RECORD = "jup2kub"
"""Key of what a run records, in the metadata of cells and notebook."""


def collect(
    notebook: Notebook,
    outcomes: Mapping[int, CellOutcome],
    *,
    keep_going: bool = False,
    language_info: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the nbformat dictionary of the executed notebook; nothing given is changed.

    `outcomes` by index of the cell; a cell without one did not run. Without `keep_going` nothing after the first
    failure, in notebook order, is published, whatever has finished. `language_info` is what the kernel tells of
    itself (None = as in the source), `summary` is added to the notebook's `jup2kub` metadata.
    """
    document = copy.deepcopy(dict(notebook.document))
    published = _published(notebook, outcomes, keep_going)
    displays: dict[str, list[dict[str, Any]]] = {}
    position = {cell.index: count for count, cell in enumerate(notebook.code, 1)}
    for cell in notebook.cells:
        if cell.kind != "code":
            continue
        target = document["cells"][cell.index]
        outcome = published.outcomes.get(cell.index)
        target.update(outputs=[], execution_count=None)
        target["metadata"].pop("execution", None)
        _record(target["metadata"], _cell_record(cell, outcome, outcomes.get(cell.index), published))
        if outcome is None or outcome.status not in ("ok", "error", "aborted"):
            continue
        count = position.get(cell.index) if outcome.from_store or outcome.count is None else outcome.count
        shown = _outputs(outcome, count, displays)
        if outcome.error and outcome.status != "ok" and not _told(outcome.error, shown, cell.may_raise):
            shown.append(_error(outcome.error))
        target.update(outputs=shown, execution_count=count)
        if outcome.start is not None:
            target["metadata"]["execution"] = _times(outcome.start, outcome.seconds)
    metadata = document["metadata"]
    metadata.pop("widgets", None)  # the state of widgets whose views are gone
    if language_info is not None:
        metadata["language_info"] = copy.deepcopy(dict(language_info))
    _record(metadata, {**_summary(notebook, published), **(summary or {})})
    return document


@dataclass(frozen=True)
class _Published:
    outcomes: Mapping[int, CellOutcome] = field(default_factory=dict)
    """What the executed notebook shows, by cell."""
    failed: tuple[int, ...] = ()
    """Cells whose failure ends the notebook (or, when it keeps going, is told), in order."""


def _published(notebook: Notebook, outcomes: Mapping[int, CellOutcome], keep_going: bool) -> _Published:
    shown: dict[int, CellOutcome] = {}
    failed: list[int] = []
    for cell in notebook.code:
        outcome = outcomes.get(cell.index)
        if outcome is None:
            continue
        shown[cell.index] = outcome
        if outcome.status == "aborted" or (outcome.status == "error" and not cell.may_raise):
            failed.append(cell.index)
            if not keep_going:
                return _Published(shown, tuple(failed))
    return _Published(shown, tuple(failed))


def _outputs(
    outcome: CellOutcome, count: int | None, displays: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the outputs of a cell; displays of the same id, here and in earlier cells, get the latest content."""
    for update in outcome.updates:
        _show(displays.get(str(update.get("display_id")), ()), update)
    outputs = []
    for given in outcome.outputs:
        output = copy.deepcopy(dict(given))
        display = (output.pop("transient", None) or {}).get("display_id")
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
        if output["output_type"] in _DISPLAYS:
            output.setdefault("metadata", {})
            if display:
                _show(displays.get(display, ()), output)
                displays.setdefault(display, []).append(output)
        outputs.append(output)
    return outputs


def _told(error: CellError, outputs: list[dict[str, Any]], may_raise: bool) -> bool:
    """Whether the notebook says of an exception what Jupyter would: nothing, if a handler of its own took it."""
    return any(o["output_type"] == "error" for o in outputs) or (may_raise and not any(error.traceback))


def _show(shown: list[dict[str, Any]] | tuple[()], content: Mapping[str, Any]) -> None:
    for output in shown:
        output["data"] = copy.deepcopy(content["data"])
        output["metadata"] = copy.deepcopy(content.get("metadata") or {})


def _error(error: CellError) -> dict[str, Any]:
    return {
        "output_type": "error",
        "ename": error.ename,
        "evalue": error.evalue,
        "traceback": list(error.traceback),
    }


def _record(metadata: dict[str, Any], record: Mapping[str, Any]) -> None:
    """Write what the run tells under `jup2kub`; the user's own options there move to its `options`."""
    own = metadata.get(_RECORD) or {}
    options = own.get("options") if "where" in own or "options" in own or "status" in own else own
    metadata[_RECORD] = {**record, **({"options": options} if options else {})}


def _cell_record(
    cell: Cell, outcome: CellOutcome | None, hidden: CellOutcome | None, published: _Published
) -> dict[str, Any]:
    if outcome is None:
        if cell.options.skip:
            status = "skipped"
        elif not cell.source.strip():
            status = "empty"
        else:
            status = "not published" if hidden is not None and hidden.status == "ok" else "not run"
        return {"where": None, "status": status}
    record: dict[str, Any] = {"where": outcome.where, "status": outcome.status}
    if outcome.status in ("blocked", "skipped"):
        return {**record, "where": None}
    if published.failed and cell.index > published.failed[0]:
        record["after_failure"] = published.failed[0]
    record.update(
        step=outcome.step,
        worker=outcome.worker,
        attempt=outcome.attempt,
        start=None if outcome.start is None else _stamp(outcome.start),
        seconds=round(outcome.seconds, 6),
        peak_bytes=outcome.peak_bytes,
        source="store" if outcome.from_store else "run",
    )
    if outcome.loops:
        record["loops"] = [dict(loop) for loop in outcome.loops]
    return record


def _summary(notebook: Notebook, published: _Published) -> dict[str, Any]:
    shown = published.outcomes.values()
    executed = [o for o in shown if o.status in ("ok", "error", "aborted")]
    if published.failed:
        status = published.outcomes[published.failed[0]].status
    else:
        status = "ok" if len(shown) == len(notebook.code) else "partial"
    return {
        "status": status,
        "failed": list(published.failed),
        "cells": len(notebook.code),
        "executed": len(executed),
        "from_store": sum(o.from_store for o in executed),
        "steps": len({o.step for o in executed if o.step is not None}),
        "seconds": round(sum(o.seconds for o in executed), 6),
    }


def _stamp(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _times(start: float, seconds: float) -> dict[str, str]:
    """Return the times as nbclient records them, for the tools that show them."""
    return {
        "iopub.status.busy": _stamp(start),
        "iopub.execute_input": _stamp(start),
        "shell.execute_reply": _stamp(start + seconds),
        "iopub.status.idle": _stamp(start + seconds),
    }
