"""What a run leaves: the executed notebook, the word on stdout, and why it failed, if it did."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from jup2kub import collect, ipynb
from jup2kub.cli import common
from jup2kub.compose import Execution, Settings
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.model.run import CellError


def check_target(target: Path, source: Path, make: Path | None = None) -> None:
    """Refuse, before anything runs, a result that cannot be written or would replace the source."""
    if target.resolve() == source.resolve():
        raise UsageError("J2K230", "the source notebook is never written", "choose another -o")
    if make is not None and make.resolve().parent.is_dir() and os.access(make.resolve().parent, os.W_OK):
        make.mkdir(exist_ok=True)
    folder = target.resolve().parent
    if target.is_dir():
        raise UsageError("J2K231", f"{target} is a folder", "name the file of the executed notebook with -o")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise EnvironmentProblem(
            "J2K231", f"cannot write into {folder}", "choose a folder that exists and may be written with -o"
        )


def has_failed(done: Execution) -> bool:
    """Return whether a cell raised that was not allowed to; a cell left out by the user's word is no failure."""
    return done.stopped is not None or any(o.status == "error" for o in published_errors(done))


def published_errors(done: Execution) -> list[Any]:
    """Return outcomes of failed cells that were not allowed to fail."""
    allowed = {c.index for c in done.notebook.code if c.may_raise}
    return [o for o in done.outcomes.values() if o.status != "ok" and o.index not in allowed]


def document(done: Execution, wanted: Settings) -> dict[str, Any]:
    """Return the executed notebook."""
    return collect.collect(
        done.notebook,
        done.outcomes,
        keep_going=wanted.keep_going,
        summary={"run": done.run, "plan": done.plan.mode, "workers": done.plan.workers},
    )


def write(target: Path, executed: dict[str, Any]) -> None:
    """Write the executed notebook whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=target.resolve().parent, prefix=".jup2kub-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(ipynb.write(executed))
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentProblem(
            "J2K232",
            f"the executed notebook could not be written to {target}: {error.strerror}",
            "nothing is lost: make room or choose another -o, and `jup2kub run` again takes it from the store",
        ) from error


def report(options: argparse.Namespace, done: Execution, target: Path, seconds: float, failed: bool) -> None:
    """Give the result on stdout and the summary on stderr."""
    steps = [o for o in done.outcomes.values() if o.where == "step" and not o.from_store]
    kept = [o for o in done.outcomes.values() if o.from_store]
    if failed:
        explain_failure(done)
    common.say(
        f"{common.count(len(done.outcomes), 'cell')} in {common.duration(seconds)}: {len(steps)} off the main line, "
        f"{len(kept)} kept from the store, "
        f"{common.duration(done.validation_seconds)} of validation"
    )
    if options.json:
        common.result(
            json.dumps(
                {
                    "output": str(target),
                    "run": done.run,
                    "state": "failed" if failed else "done",
                    "seconds": round(seconds, 3),
                    "validation_seconds": round(done.validation_seconds, 3),
                    "steps": sorted(o.index for o in steps),
                    "kept": sorted(o.index for o in kept),
                }
            )
        )
    else:
        common.result(str(target))


def explain_failure(done: Execution) -> None:
    """Say which cell raised what."""
    for outcome in published_errors(done)[:1]:
        error = outcome.error
        if error is not None:
            common.say(f"error: J2K100 cell {outcome.index} raised {error.ename}: {error.evalue}")
            lines = done.notebook.cells[outcome.index].source.splitlines()
            if error.line is not None and 0 < error.line <= len(lines):
                common.say(f"  line {error.line}: {lines[error.line - 1].strip()}")
            for name, text in error.inputs.items():
                common.say(f"  {name} = {text}")
            common.say(f"hint: {way_out(error)}")


OTHER_NAMES = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
}
"""Packages whose name is not that of their module."""


def way_out(error: CellError) -> str:
    """Return what to do about an exception of a cell."""
    missing = re.match(r"No module named '([\w.]+)'", error.evalue)
    if error.ename == "ModuleNotFoundError" and missing:
        module = missing[1].partition(".")[0]
        package = OTHER_NAMES.get(module, module)
        return (
            f"the environment of the notebook's kernel lacks the package {package!r}: install it there "
            f"(in a notebook: `%pip install {package}`), or choose another kernel with --kernel NAME"
        )
    if error.ename == "MemoryError" or (error.ename == "DeadKernelError" and "memory" in error.evalue):
        return "memory ran out: free what is needed no longer (`del`), use smaller pieces or fewer --workers"
    if error.ename == "TimeoutError" and error.line is None:
        return "the executed notebook tells where it was; give it more time (`#| timeout: …`), or less to do"
    return "its traceback is in the executed notebook; fix the cell and run again: only what depends on it runs anew"
