"""The only place where settings become concrete objects: a path and options in, an executed notebook out."""

from __future__ import annotations

import ast
import asyncio
import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jup2kub import analyse, ipynb, planner
from jup2kub.agent.flights import Flights
from jup2kub.agent.kernel import Kernel
from jup2kub.agent.launch import Launch, find, located
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.session import Session, Terms, Told
from jup2kub.agent.spawn import Spawned, peek
from jup2kub.agent.world import world
from jup2kub.analyse import annotations as tables
from jup2kub.analyse import loops
from jup2kub.engine import foreign, lives
from jup2kub.engine.early import Early
from jup2kub.errors import UsageError
from jup2kub.kit.canon import canonical, digest, to_json
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import PLAN_VERSION, Plan
from jup2kub.model.run import CellOutcome
from jup2kub.store import UNFINISHED, BlobRef, RunInfo, RunKey, Store
from jup2kub.store.files import FileStore

CAP = 50 << 30
"""Bytes; the store drops what was used least recently beyond this size."""


@dataclass(frozen=True)
class Settings:
    """What the user asked for, parsed."""

    notebook: Path
    workers: int
    """Kernels that may compute at once, the main one included."""
    plan: str = "hybrid"
    store: Path | None = None
    """None = the user's cache folder."""
    fresh: bool = False
    keep_going: bool = False
    fork: bool = True
    offload: str = "auto"
    kernel: str = ""
    """Name of a kernelspec; empty = the one the notebook names."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    redo: frozenset[int] = frozenset()
    skip: frozenset[int] = frozenset()
    """Cells with effects that an interrupted run may have left half done: to run again, or to leave out."""
    collect: tuple[str, ...] = ()
    """Variables whose last values are wanted."""
    annotations: tuple[Path, ...] = ()
    """The user's own annotation tables."""


@dataclass(frozen=True)
class Compiled:
    """A notebook with its plan."""

    notebook: Notebook
    plan: Plan
    keys: Mapping[int, str]
    """Profile key by cell."""
    modules: Mapping[str, str]
    """Sources of the project's own modules that the notebook may import."""


@dataclass(frozen=True)
class Execution:
    """One execution of a notebook."""

    notebook: Notebook
    plan: Plan
    outcomes: Mapping[int, CellOutcome]
    stopped: int | None
    """The cell that ended the notebook early; None = it ran to its end."""
    run: str
    seconds: float
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Digest of every file that was written, as the run left it; None = removed. Taken for `verify` only."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Last values of the variables that were wanted: as JSON, or else their text."""
    validation_seconds: float = 0.0
    """Spent by all kernels on finding out what the cells changed."""


def default_store() -> Path:
    """Return the store's folder: `JUP2KUB_STORE`, or `jup2kub` in the user's cache folder."""
    named = os.environ.get("JUP2KUB_STORE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jup2kub"


def open_store(settings: Settings) -> Store:
    """Open the store of these settings. Raises StoreProblem."""
    return FileStore(settings.store or default_store(), cap_bytes=CAP)


def read_notebook(settings: Settings) -> Notebook:
    """Read the notebook and put the parameters in. Raises UsageError."""
    try:
        data = settings.notebook.read_bytes()
    except OSError as error:
        raise UsageError(
            "J2K201", f"cannot read {settings.notebook}: {error.strerror}", "check the path of the notebook"
        ) from error
    notebook = ipynb.read(data, settings.notebook.name)
    if settings.parameters:
        notebook = ipynb.inject(notebook, settings.parameters)
    for absent in sorted((settings.redo | settings.skip) - {cell.index for cell in notebook.code}):
        raise UsageError(
            "J2K200",
            f"cell {absent} is no code cell of {settings.notebook.name}",
            "`--redo` and `--skip` count all cells of the notebook, from 0",
        )
    return notebook


def compile_notebook(notebook: Notebook, settings: Settings, store: Store) -> Compiled:
    """Analyse and plan. Pure but for the sources of the project's own modules."""
    modules = local_modules(notebook, located(settings.notebook).parent)
    profile = store.profile() if settings.plan == "hybrid" else None
    known = tables.load(str(p) for p in settings.annotations)
    graph = analyse.analyse(
        notebook,
        profile=profile,
        mode=settings.plan,
        annotations=known,
        modules=modules,
        to_python=ipynb.to_python,
    )
    keys = analyse.profile_keys(notebook, graph)
    found, refused = loops.find(notebook, graph, ipynb.to_python)
    plan = planner.plan(
        notebook,
        graph,
        profile=profile,
        workers=settings.workers,
        mode=settings.plan,
        offload=settings.offload,
        fork=settings.fork,
        keys=keys,
        loops=found,
        loop_decisions=refused,
    )
    if profile is not None and any(key in profile for key in keys.values()):
        text = analyse.analyse(
            notebook, mode="static", annotations=known, modules=modules, to_python=ipynb.to_python
        )
        plan = replace(plan, text_edges=tuple(sorted({(e.source, e.target) for e in text.edges})))
    return Compiled(notebook, replace(plan, modules=strangers(notebook, modules)), keys, modules)


def strangers(notebook: Notebook, modules: Mapping[str, str]) -> dict[str, str]:
    """Return the modules whose own state only a run can tell, with the resource that it is.

    These are the project's `modules`, and the packages imported that no built-in table knows; what a user's own table
    says of one is looked at as well.
    """
    texts = [(c.python, "") for c in notebook.code if c.python]
    texts += [(text, name) for name, text in modules.items()]
    tops = {name.partition(".")[0] for text in texts for name in imported(*text)}
    own = {name.partition(".")[0] for name in modules}
    unknown = tops - own - tables.load().packages.keys() - sys.stdlib_module_names
    return {**{n: f"@mod:{n}" for n in modules}, **{n: f"@lib:{n}" for n in sorted(unknown)}}


def local_modules(notebook: Notebook, folder: Path) -> dict[str, str]:
    """Return the sources of the project's modules that the cells import, directly or through each other."""
    found: dict[str, str] = {}
    todo = [(c.python, "") for c in notebook.code if c.python]
    while todo:
        for name in imported(*todo.pop()):
            place = folder / name.replace(".", "/")
            for path, package in (
                (place / "__init__.py", name),
                (place.with_suffix(".py"), name.rpartition(".")[0]),
            ):
                if name not in found and path.is_file():
                    found[name] = path.read_text(errors="replace")
                    todo.append((found[name], package))
    return found


def imported(source: str, package: str = "") -> set[str]:
    """Return the dotted names of all modules that the text may import; `package`: where it stands."""
    names: set[str] = set()
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)] if base else [])
    return {".".join(n.split(".")[:k]) for n in names for k in range(1, n.count(".") + 2)}


@dataclass(frozen=True)
class Proof:
    """What `verify` wants of an execution beyond its outputs."""

    digests: bool = False
    """Take digests of variables and files after every cell."""
    undo: bool = False
    """Put the project's files back afterwards."""


def trim(store: Store, tell: Callable[[Told], None]) -> None:
    """Keep the store to its size, and say what was dropped."""
    usage = store.usage()
    if usage.cap_bytes is None or usage.bytes <= usage.cap_bytes:
        return
    report = store.sweep()
    if report.dropped:
        text = f"the store was over {usage.cap_bytes / 1e9:.0f} GB: dropped {len(report.dropped)} old results"
        tell(Told("note", text=f"{text} ({report.freed / 1e9:.1f} GB)"))


def execute(
    settings: Settings,
    tell: Callable[[Told], None],
    proof: Proof | None = None,
    know: Callable[[Notebook], None] = lambda notebook: None,
    ahead: Spawned | None = None,
) -> Execution:
    """Run the notebook by plan on this machine. Raises Jup2KubError; KeyboardInterrupt leaves a resumable run."""
    return asyncio.run(execute_async(settings, tell, proof or Proof(), None, know, ahead))


async def execute_async(
    settings: Settings,
    tell: Callable[[Told], None],
    proof: Proof,
    flights: Flights | None = None,
    know: Callable[[Notebook], None] = lambda notebook: None,
    ahead: Spawned | None = None,
) -> Execution:
    """Do the work of `execute` in a running event loop.

    `know` is given the notebook as soon as it is read; `ahead` is used if it is the kernel that is wanted.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    project = str(located(settings.notebook).parent)
    early = Early(settings.kernel or peek(settings.notebook), project, ahead)
    store: Store | None = None
    try:
        notebook = await asyncio.to_thread(read_notebook, settings)
        know(notebook)
        launch = find(settings.kernel or notebook.kernel, cwd=project)
        if not launch.is_ipython:
            await early.abandon()
            return await _foreign(settings, notebook, launch, tell)
        starting = await early.kernel(launch)
        store = open_store(settings)
        compiled = await asyncio.to_thread(compile_notebook, notebook, settings, store)
        session, stopped = await _run(settings, store, compiled, launch, starting, tell, proof, flights)
    except BaseException:
        await early.abandon()
        raise
    finally:
        if store is not None:
            store.close()
    return Execution(
        notebook,
        session.plan,
        dict(session.outcomes),
        stopped,
        session.terms.run,
        loop.time() - began,
        session.left_files,
        session.collected,
        session.validation_seconds,
    )


async def _foreign(
    settings: Settings, notebook: Notebook, launch: Launch, tell: Callable[[Told], None]
) -> Execution:
    """Run a notebook of another language: serially, in its own kernel."""
    tell(Told("note", text=f"the kernel {launch.name!r} is not an IPython one: one serial main line"))
    began = asyncio.get_running_loop().time()
    outcomes, stopped = await foreign.run(
        notebook, launch.name, launch.cwd, keep_going=settings.keep_going, tell=tell
    )
    source = digest([c.source for c in notebook.code])
    main = tuple(c.index for c in notebook.code)
    plan = Plan(PLAN_VERSION, "serial", 1, source, (), main, (), (), (), ())
    return Execution(notebook, plan, outcomes, stopped, "", asyncio.get_running_loop().time() - began)


def take_back_unfinished(store: Store, info: RunInfo) -> UndoLog:
    """Put the project's files back as they were before tries of the same work that did not come to their end."""
    mine = UndoLog(store.undo_folder(info.id))
    for other in store.runs():
        same = (other.key.notebook, other.key.parameters) == (info.key.notebook, info.key.parameters)
        if other.id == info.id:
            mine.take_back()
        elif same and not other.live and other.state in UNFINISHED:
            UndoLog(store.undo_folder(other.id)).take_back()
    return mine


def _terms(settings: Settings, run: str, proof: Proof, launch: Launch) -> Terms:
    return Terms(
        run=run,
        project=located(settings.notebook).parent,
        workers=settings.workers,
        fresh=settings.fresh,
        keep_going=settings.keep_going,
        fork=settings.fork,
        offload=settings.offload,
        digests=proof.digests,
        keep_undo=proof.undo,
        redo=settings.redo,
        skip=settings.skip,
        collect=settings.collect,
        environ=dict(launch.env),
    )


async def _run(
    settings: Settings,
    store: Store,
    compiled: Compiled,
    launch: Launch,
    starting: asyncio.Task[Kernel],
    tell: Callable[[Told], None],
    proof: Proof,
    flights: Flights | None,
) -> tuple[Session, int | None]:
    key = RunKey(str(located(settings.notebook)), compiled.plan.source, digest(to_json(settings.parameters)))
    info = store.open_run(key, fresh=settings.fresh)
    document = canonical(to_json(compiled.plan))
    store.update_run(info.id, plan=BlobRef(store.put_blob(document), len(document)))
    terms = _terms(settings, info.id, proof, launch)
    sources = {c.index: c.source for c in compiled.notebook.code}
    undo = take_back_unfinished(store, info)
    kernel = await starting  # as late as can be: it takes longer than all that came before
    session = Session(
        compiled.plan,
        sources,
        store,
        terms,
        world(kernel, launch, compiled.modules),
        tell,
        compiled.keys,
        undo,
    )

    again = functools.partial(compile_notebook, compiled.notebook, replace(settings, plan="hybrid"), store)

    def replan() -> None:
        session.use((found := again()).plan, found.keys)

    session.flights, session.look_again = flights, lambda: again().plan
    state = "interrupted"
    try:
        stopped = await lives.run(session, launch, kernel, replan)
        state = "done" if stopped is None else "failed"
        return session, stopped
    finally:
        with session.room.used():
            session.leave(state)
        with session.room.used():
            store.close_run(info.id, state)
        trim(store, tell)
