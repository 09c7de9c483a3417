"""One execution of a notebook under observation: what each cell has read, written and reached.

Only the kernel is traced: notebooks cost about 2.4 times their time then, instead of 4.4 for all of a notebook runner.
Between cells the kernel itself opens a sentinel file, so that whoever watches files sees where a cell begins and ends,
in the same order and by the same clock.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from jup2kub.agent.kernel import Kernel, KernelDied, RunCell
from jup2kub.agent.launch import Launch
from jup2kub.capture import attribute, backends, secrets
from jup2kub.capture.attribute import Places, Touched
from jup2kub.capture.backends import Backend, Event
from jup2kub.capture.environment import Environment
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.env import Seen
from jup2kub.model.facts import Facts
from jup2kub.model.notebook import Notebook
from jup2kub.model.run import CellError

MARKS = Path(__file__).with_name("marks.py")
SLOW_END = 600.0
"""Seconds that a tracer may take to write its notes after the kernel has left; ReproZip writes all of them then."""
KEPT = re.compile(
    r"^(PATH|HOME|LANG|LANGUAGE|TZ|TMPDIR|SHELL|TERM|USER|LOGNAME|LD_LIBRARY_PATH|VIRTUAL_ENV|SSL_CERT_FILE|SSL_CERT_DIR|"
    r"REQUESTS_CA_BUNDLE|DISPLAY|MPLBACKEND|MPLCONFIGDIR|CUDA_\w+|LC_\w+|XDG_\w+|CONDA_\w+|JUPYTER_\w+|IPYTHON\w*|"
    r"PYTHON\w+|GDAL_\w+|PROJ_\w+|\w+_NUM_THREADS|(http|https|no|all)_proxy)$",
    re.IGNORECASE,
)
"""Variables that the watched kernel gets, if they do not look secret. All others only if the notebook names them."""


@dataclass(frozen=True)
class Traced:
    """What one execution has shown."""

    seen: Seen
    backend: Backend
    events: tuple[Event, ...] = ()
    touched: Touched = field(default_factory=Touched)
    places: Places = field(default_factory=lambda: Places("/", ()))
    failed: int | None = None
    """The cell that ended the notebook; None = it ran to its end."""
    error: CellError | None = None
    seconds: float = 0.0
    """Of the cells, under observation."""


@dataclass(frozen=True)
class Subject:
    """What is watched."""

    notebook: Notebook
    folder: Path
    """Where it lies; absolute."""
    launch: Launch
    environment: Environment
    modules: tuple[str, ...] = ()
    """Files of the project's own modules, real paths."""
    values: tuple[bytes, ...] = ()
    """Secrets that must be nowhere."""


def environ_for(launch: Launch, notebook: Notebook) -> dict[str, str]:
    """Return the environment for a kernel under observation: a trace and a pack keep it whole.

    A variable passes if it is one that software needs, or if the notebook names it; never one that looks secret.
    """
    text = "\n".join(c.source for c in notebook.code)
    named = set(re.findall(r"\b[A-Za-z_]\w*\b", text))
    return {
        name: value
        for name, value in secrets.scrubbed(launch.env).items()
        if KEPT.match(name) or name in named
    }


async def trace(
    subject: Subject, backend: Backend, scratch: Path, tell: Callable[[str], None] = lambda text: None
) -> Traced:
    """Run the notebook once, top to bottom, in one kernel, and return what it used.

    It really runs: files are written as always. `scratch`: an empty folder for notes. Raises EnvironmentProblem J2K402
    (the kernel does not start), J2K403 (it died), J2K654 (the notes are not whole).
    """
    marks = Path(os.path.realpath(scratch), "marks")
    marks.mkdir()
    for cell in subject.notebook.code:
        for edge in ("start", "end"):
            (marks / f"{cell.index}.{edge}").touch()
    places = Places.of(subject.environment, subject.folder, [scratch])
    before = attribute.state_of(subject.folder, places)
    launch = replace(
        subject.launch,
        argv=(*backend.command(scratch), *subject.launch.argv),
        env=environ_for(subject.launch, subject.notebook),
    )
    kernel = await Kernel.start(launch)
    try:
        ran = await _cells(kernel, subject, marks, scratch / "hook.log", tell)
    except BaseException:
        kernel.kill()
        raise
    finally:
        await kernel.close(SLOW_END)
    return _seen(subject, backend, scratch, marks, places, before, ran)


@dataclass
class Ran:
    """What the kernel itself has told."""

    facts: dict[int, Facts] = field(default_factory=dict)
    failed: int | None = None
    error: CellError | None = None
    seconds: float = 0.0


async def _cells(
    kernel: Kernel, subject: Subject, marks: Path, log: Path, tell: Callable[[str], None]
) -> Ran:
    ran = Ran()
    listen = f"exec(compile(__import__('io').open({str(MARKS)!r}).read(), '<marks>', 'exec'), {{'LOG': {str(log)!r}}})"
    await kernel.run(RunCell(-1, 0, listen, silent=True))
    for count, cell in enumerate(subject.notebook.code, 1):
        await _mark(kernel, marks / f"{cell.index}.start")
        try:
            result = await kernel.run(RunCell(cell.index, count, cell.source, project=str(subject.folder)))
        except KernelDied as died:
            ran.failed, ran.error = cell.index, CellError("DeadKernelError", died.message, (died.message,))
            return ran
        ran.facts[cell.index] = result.facts
        ran.seconds += result.seconds
        tell(f"cell {cell.index}: {result.status}, {result.seconds:.1f} s")
        if result.leaving:
            return ran
        await _mark(kernel, marks / f"{cell.index}.end")
        if result.status == "error" and not cell.may_raise:
            error = result.error or {}
            ran.failed = cell.index
            ran.error = CellError(
                str(error.get("ename")), str(error.get("evalue")), tuple(error.get("traceback") or ())
            )
            return ran
    return ran


async def _mark(kernel: Kernel, path: Path) -> None:
    # Opened, not only looked at: all ways to watch see this. `open` may be a name of the notebook's.
    await kernel.run(RunCell(-1, 0, f"__import__('io').open({str(path)!r}).close()", silent=True))


def _seen(
    subject: Subject,
    backend: Backend,
    scratch: Path,
    marks: Path,
    places: Places,
    before: Mapping[str, tuple[int, int]],
    ran: Ran,
) -> Traced:
    try:
        events = tuple(backend.events(scratch))
        heard = tuple(backends.hook_events(scratch / "hook.log"))
    except (OSError, ValueError, sqlite3.Error) as error:
        raise EnvironmentProblem(
            "J2K654",
            f"the notes of {backend.name} are not whole: {error}",
            "try again without interrupting; its notes are written when the kernel ends",
        ) from error
    touched = attribute.by_cell(events, str(marks))
    if ran.facts and not (touched.read or touched.written or touched.used):
        raise EnvironmentProblem(
            "J2K654", f"{backend.name} has noted nothing", "the tracer was ended from outside: try again"
        )
    beside = attribute.by_cell(heard, str(marks))
    _join(touched, beside)
    _add_facts(touched, ran.facts, places)
    data, withheld = attribute.data_files(touched, places, before, subject.modules, subject.values)
    seen = Seen(
        backend=backend.name,
        imports=tuple(sorted({name for f in ran.facts.values() for name in f.imports})),
        distributions=attribute.distributions(touched, subject.environment),
        data=data,
        libraries=attribute.libraries(touched),
        hosts=_public(touched.hosts),
        withheld=withheld,
        unseen=(
            *((f"{backend.name} was taken, for {backend.why}",) if backend.why else ()),
            *backends.UNSEEN[backend.name],
        ),
    )
    return Traced(seen, backend, events, touched, places, ran.failed, ran.error, ran.seconds)


def _join(touched: Touched, other: Touched) -> None:
    """Add what the hook has heard: names that no longer exist, and connections."""
    for mine, theirs in ((touched.read, other.read), (touched.written, other.written)):
        for path, cells in theirs.items():
            mine.setdefault(path, set()).update(cells)
    touched.hosts.update(other.hosts)
    touched.removed.update(other.removed)
    touched.in_cells.update(other.in_cells)


def _add_facts(touched: Touched, facts: Mapping[int, Facts], places: Places) -> None:
    """Add what the kernel's own observation says: it knows files by what they become, such as a renamed one's new name."""
    for cell, fact in facts.items():
        for name in fact.files_read:
            touched.read.setdefault(os.path.join(places.project, name), set()).add(cell)
        for name in fact.files_written:
            touched.written.setdefault(os.path.join(places.project, name), set()).add(cell)


def _public(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return hosts without this machine's own addresses and those that names are asked of (port 53)."""
    own = re.compile(r"^(localhost|127\.\d+\.\d+\.\d+|::1|0\.0\.0\.0)(:\d+)?$|:53$")
    return tuple(sorted(h for h in hosts if not own.search(h)))
