"""The only place where settings become concrete objects: a path and options in, an executed notebook out."""

from __future__ import annotations

import ast
import asyncio
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jup2kub import analyse, ipynb, planner
from jup2kub.agent.kernel import Kernel
from jup2kub.agent.launch import Launch, find
from jup2kub.agent.session import Session, Terms, Told
from jup2kub.analyse import annotations, loops
from jup2kub.engine import local
from jup2kub.errors import UsageError
from jup2kub.kit.canon import canonical, digest, to_json
from jup2kub.model.notebook import Notebook
from jup2kub.model.plan import Plan
from jup2kub.model.run import CellOutcome
from jup2kub.store import BlobRef, RunKey, Store
from jup2kub.store.files import FileStore

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
    validation_seconds: float = 0.0


def default_store() -> Path:
    """Return the store's folder: `JUP2KUB_STORE`, or `jup2kub` in the user's cache folder."""
    named = os.environ.get("JUP2KUB_STORE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jup2kub"


def open_store(settings: Settings) -> Store:
    """Open the store of these settings. Raises StoreProblem."""
    return FileStore(settings.store or default_store())


def read_notebook(settings: Settings) -> Notebook:
    """Read the notebook and put the parameters in. Raises UsageError."""
    try:
        data = settings.notebook.read_bytes()
    except OSError as error:
        raise UsageError(
            "J2K201", f"cannot read {settings.notebook}: {error.strerror}", "check the path of the notebook"
        ) from error
    notebook = ipynb.read(data, settings.notebook.name)
    return ipynb.inject(notebook, settings.parameters) if settings.parameters else notebook


def compile_notebook(notebook: Notebook, settings: Settings, store: Store) -> Compiled:
    """Analyse and plan. Pure but for the sources of the project's own modules."""
    modules = local_modules(notebook, settings.notebook.resolve().parent)
    profile = store.profile() if settings.plan == "hybrid" else None
    tables = annotations.load([p.read_text() for p in settings.annotations])
    graph = analyse.analyse(
        notebook, profile=profile, mode=settings.plan, annotations=tables, modules=modules
    )
    keys = analyse.profile_keys(notebook, graph)
    found, refused = loops.find(notebook, graph)
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
    return Compiled(notebook, plan, keys, modules)


def local_modules(notebook: Notebook, folder: Path) -> dict[str, str]:
    """Return the sources of the project's modules that the cells import, directly or through each other."""
    found: dict[str, str] = {}
    todo = [c.python for c in notebook.code if c.python]
    while todo:
        for name in imported(todo.pop()):
            for path in (
                folder / (name.replace(".", "/") + ".py"),
                folder / name.replace(".", "/") / "__init__.py",
            ):
                if name not in found and path.is_file():
                    found[name] = path.read_text(errors="replace")
                    todo.append(found[name])
    return found


def imported(source: str) -> set[str]:
    """Return the dotted names of all modules that the text may import."""
    names: set[str] = set()
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {".".join(n.split(".")[:k]) for n in names for k in range(1, n.count(".") + 2)}


def world(kernel: Kernel, launch: Launch, modules: Mapping[str, str]) -> str:
    """Return a digest of what besides the notebook decides its answer: interpreter, packages, CPU kind, threads."""
    return digest(
        {
            "python": kernel.info.get("python"),
            "packages": kernel.info.get("packages"),
            "machine": [platform.machine(), platform.processor(), platform.system()],
            "threads": {name: launch.env.get(name) for name in THREAD_VARIABLES},
            "modules": modules,
        }
    )


def execute(settings: Settings, tell: Callable[[Told], None], *, digests: bool = False) -> Execution:
    """Run the notebook by plan on this machine. Raises Jup2KubError; KeyboardInterrupt leaves a resumable run."""
    return asyncio.run(_execute(settings, tell, digests))


async def _execute(settings: Settings, tell: Callable[[Told], None], digests: bool) -> Execution:
    loop = asyncio.get_running_loop()
    began = loop.time()
    notebook = read_notebook(settings)
    project = settings.notebook.resolve().parent
    launch = find(settings.kernel or notebook.kernel, cwd=str(project))
    starting = asyncio.ensure_future(Kernel.start(launch))
    store = open_store(settings)
    try:
        compiled = await asyncio.to_thread(compile_notebook, notebook, settings, store)
        kernel = await starting
        session, stopped = await _run(settings, store, compiled, launch, kernel, tell, digests)
    except BaseException:
        if not starting.done():
            starting.cancel()
        elif not starting.cancelled() and starting.exception() is None:
            await starting.result().close()
        raise
    finally:
        store.close()
    return Execution(
        notebook, session.plan, dict(session.outcomes), stopped, session.terms.run, loop.time() - began
    )


async def _run(
    settings: Settings,
    store: Store,
    compiled: Compiled,
    launch: Launch,
    kernel: Kernel,
    tell: Callable[[Told], None],
    digests: bool,
) -> tuple[Session, int | None]:
    key = RunKey(str(settings.notebook.resolve()), compiled.plan.source, digest(to_json(settings.parameters)))
    info = store.open_run(key, fresh=settings.fresh)
    document = canonical(to_json(compiled.plan))
    store.update_run(info.id, plan=BlobRef(store.put_blob(document), len(document)))
    terms = Terms(
        run=info.id,
        project=settings.notebook.resolve().parent,
        workers=settings.workers,
        fresh=settings.fresh,
        keep_going=settings.keep_going,
        fork=settings.fork,
        offload=settings.offload,
        digests=digests,
        environ=dict(launch.env),
    )
    sources = {c.index: c.source for c in compiled.notebook.code}
    undo = Path(tempfile.mkdtemp(dir=store.staging()))
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

    def replan() -> None:
        again = compile_notebook(compiled.notebook, replace(settings, plan="hybrid"), store)
        session.use(again.plan, again.keys)

    state = "interrupted"
    try:
        stopped = await local.run(session, launch, kernel, replan)
        state = "done" if stopped is None else "failed"
        return session, stopped
    finally:
        store.close_run(info.id, state)
