"""`verify`: two sequential executions and a planned one, from the same folder, and what they have in common."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jup2kub import __version__, certify
from jup2kub.agent.session import Told
from jup2kub.compose import Execution, Proof, Settings, execute
from jup2kub.kit.canon import to_json

Runner = Callable[[Settings, Callable[[Told], None], Proof], Execution]
"""Runs a notebook once, here or elsewhere."""


def verify(settings: Settings, tell: Callable[[Told], None], run: Runner = execute) -> certify.Certificate:
    """Run the notebook three times and compare. The folder is afterwards as the planned run left it."""
    with tempfile.TemporaryDirectory(prefix="jup2kub-verify-") as folder:
        serial = replace(
            settings,
            plan="serial",
            offload="none",
            workers=1,
            store=Path(folder),
            fresh=True,
            keep_going=True,
        )
        tell(Told("note", text="first sequential run"))
        first = run(serial, tell, Proof(digests=True, undo=True))
        tell(Told("note", text="second sequential run"))
        second = run(serial, tell, Proof(digests=True, undo=True))
    tell(Told("note", text="the planned run"))
    planned = run(replace(settings, fresh=True, keep_going=True), tell, Proof(digests=True))
    runs = {"first": first, "second": second, "planned": planned}
    plan = planned.plan
    return certify.compare(
        _execution(first),
        _execution(second),
        _execution(planned),
        notebook=planned.notebook,
        name=settings.notebook.name,
        plan={
            "mode": plan.mode,
            "workers": plan.workers,
            "main": list(plan.main),
            "steps": [to_json(s) for s in plan.steps],
        },
        versions={"jup2kub": __version__, "machine": platform.machine(), "system": platform.system()},
        timings={"validation_seconds": {name: run.validation_seconds for name, run in runs.items()}},
    )


def _execution(done: Execution) -> certify.Execution:
    return certify.Execution(outcomes=done.outcomes, files=done.files, seconds=done.seconds)
