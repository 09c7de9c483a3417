"""One task of an exported notebook, as any workflow system runs it: `python3 PROGRAM --parts FILE --task NAME …`.

All tasks share a store. Each works in a copy of the project of its own, at the same path as the others, and runs its cells
in notebook order in one kernel. What was committed by an earlier task is taken by its memo key. The last task writes the
executed notebook, and the files that the notebook wrote.

Python >= 3.9 and the standard library only: it travels in the program that stands beside the exported workflow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub.agent.kernel import Kernel, KernelDied
from jup2kub.agent.launch import find
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.seen import with_seen
from jup2kub.agent.session import Session, Terms, Told
from jup2kub.agent.world import world
from jup2kub.collect import collect
from jup2kub.engine import lives
from jup2kub.errors import EXIT_CELL_RAISED, EXIT_OK, EnvironmentProblem, Jup2KubError, UsageError
from jup2kub.ipynb.write import write
from jup2kub.kit.canon import from_json
from jup2kub.model.job import Job
from jup2kub.model.parts import LAST, PARTS_VERSION, Part, Parts
from jup2kub.store import RunKey
from jup2kub.store.files import FileStore

WAYS_OUT = {
    "J2K602": "look whether it has; exported with another `--name`, the notebook runs from its beginning"
}
"""Hints, by code, where that of the command line is of no use in a task."""


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="jup2kub-part", allow_abbrev=False)
    parser.add_argument("--parts", type=Path, required=True, help="the file that the export wrote")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--project", type=Path, required=True, help="the notebook's folder; it is only read")
    parser.add_argument("--store", type=Path, required=True, help="folder that all tasks share")
    parser.add_argument("--scratch", type=Path, required=True, help="where this task copies the project to")
    parser.add_argument("--out", type=Path, required=True, help="folder for the executed notebook")
    return parser.parse_args(arguments)


def read(path: Path) -> Parts:
    """Read what the export wrote. Raises UsageError (J2K741)."""
    try:
        document = json.loads(path.read_bytes())
        if document["version"] != PARTS_VERSION:
            raise ValueError(f"it has version {document['version']}; this program knows {PARTS_VERSION}")
        return from_json(Parts, document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError("J2K741", f"cannot use {path}: {error}", "export the notebook again") from error


def main(arguments: list[str]) -> int:
    """Run one task. 0 = done; 1 = a cell of the notebook raised, in the last task; else the error's own exit code.

    A cell that raises in an earlier task fails in its turn, in the last one, with the outputs before it: so the notebook
    comes back as Jupyter would have left it.
    """
    wanted = options(arguments)
    try:
        parts = read(wanted.parts)
        part = next((p for p in parts.parts if p.name == wanted.task), None)
        if part is None:
            known = ", ".join(p.name for p in parts.parts)
            raise UsageError("J2K741", f"{wanted.parts} has no task {wanted.task!r}", f"it has {known}")
        _bring(wanted.project, wanted.scratch)
        with FileStore(wanted.store) as store:
            return asyncio.run(_work(parts, part, store, wanted))
    except Jup2KubError as problem:
        hint = WAYS_OUT.get(problem.code, problem.hint)
        sys.stderr.write(f"error: {problem}\n" + (f"hint: {hint}\n" if hint else ""))
        return problem.exit_code


def _bring(project: Path, scratch: Path) -> None:
    """Copy the project to a place of this task's own. Raises EnvironmentProblem (J2K742)."""
    try:
        if scratch.exists():
            shutil.rmtree(scratch)  # of a try before, on a machine that keeps such folders
        shutil.copytree(project, scratch, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise EnvironmentProblem(
            "J2K742",
            f"cannot copy the project {project} to {scratch}: {error}",
            "the notebook's folder must lie in the shared folder, readable by the task's user",
        ) from error


async def _work(parts: Parts, part: Part, store: FileStore, wanted: argparse.Namespace) -> int:
    job, last = parts.job, part.name == LAST
    launch = find(job.kernel, cwd=str(wanted.scratch), env={**os.environ, **job.environ})
    # One kernel runs all in order: whoever wants to run something beside it is another task.
    plan = replace(job.plan, steps=(), main=tuple(c.index for c in job.plan.cells), edges=())
    key = RunKey(f"{job.notebook}#{part.name}", plan.source, job.parameters)
    info = store.open_run(key)
    undo = UndoLog(store.undo_folder(info.id))
    undo.forget()  # of a try before, whose copy of the project is gone
    kernel = await Kernel.start(launch)
    session = Session(
        plan,
        job.sources,
        store,
        _terms(job, part, info.id, wanted.scratch, dict(launch.env)),
        world(kernel, launch, job.modules),
        _tell,
        job.keys,
        undo,
    )
    session.look_again = lambda: with_seen(session.plan, session.facts)
    state = "interrupted"
    try:
        stopped = await lives.run(session, launch, kernel, lambda: None)
        state = "done" if stopped is None else "failed"
    except KernelDied as death:
        raise EnvironmentProblem(
            "J2K743", f"the kernel of task {part.name} died: {death.message}", "see its memory, and try again"
        ) from death
    finally:
        session.leave(state)
        store.close_run(info.id, state)
    if not last:
        return EXIT_OK
    _give(parts, session, wanted)
    return EXIT_OK if stopped is None else EXIT_CELL_RAISED


def _terms(job: Job, part: Part, run: str, project: Path, environ: Mapping[str, str]) -> Terms:
    left_out = frozenset(c.index for c in job.plan.cells) - set(part.runs)
    return Terms(
        run=run,
        project=project,
        workers=max(1, job.plan.workers),
        keep_going=job.keep_going and part.name == LAST,
        offload="none",
        redo=job.redo,
        skip=job.skip | left_out,
        environ=environ,
    )


def _give(parts: Parts, session: Session, wanted: argparse.Namespace) -> None:
    """Write the executed notebook, and the files that its cells wrote. Raises EnvironmentProblem (J2K231)."""
    plan = parts.job.plan
    told = {"run": session.terms.run, "plan": plan.mode, "workers": plan.workers}
    document = collect(parts.notebook, session.outcomes, keep_going=parts.job.keep_going, summary=told)
    target = wanted.out / f"{Path(parts.job.notebook).stem}.ipynb"
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
        for name in sorted({n for facts in session.facts.values() for n in facts.files_written}):
            source = wanted.scratch / name
            inside = not os.path.isabs(name) and ".." not in Path(name).parts
            if not inside:
                _say(f"{name} was written outside the project, and is not among what comes back")
            elif source.is_file():
                (wanted.out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, wanted.out / name)
        made = target.with_name(f".{target.name}.new")
        made.write_bytes(write(document))
        made.replace(target)
    except OSError as error:
        raise EnvironmentProblem(
            "J2K231", f"cannot write {target}: {error.strerror}", "make the shared folder writable"
        ) from error
    _say(f"wrote {target}")


def _tell(told: Told) -> None:
    words: list[Any] = [told.kind, None if told.cell is None else f"cell {told.cell}", told.text]
    if told.kind != "output":
        _say(" ".join(str(w) for w in words if w))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
