"""An execution elsewhere: the notebook is compiled here, and run by a server and agents somewhere else.

What is sent is the job (plan, texts, terms) and the project's files; what comes back are outcomes and files.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jup2kub.agent.files import FileImage, post_images, put_back
from jup2kub.agent.launch import located
from jup2kub.agent.session import Told
from jup2kub.agent.world import THREAD_VARIABLES
from jup2kub.capture.secrets import denied
from jup2kub.compose import Compiled, Execution, Settings, compile_notebook, read_notebook
from jup2kub.errors import EnvironmentProblem, Jup2KubError, UsageError
from jup2kub.kit.canon import canonical, digest, from_json, to_json
from jup2kub.model.job import Job
from jup2kub.model.plan import Plan
from jup2kub.model.run import CellOutcome
from jup2kub.store import Store
from jup2kub.store.link import Link
from jup2kub.store.remote import RemoteStore

LEFT_HERE = frozenset({".git", "__pycache__", ".ipynb_checkpoints", "node_modules", ".venv"})
"""Folders that never travel."""
ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")
"""What a folder holds that is an environment of Python: software travels as an image, not as files."""
MOST = 1 << 30
"""Bytes of one file, and of all files, that travel without being asked for."""
WAIT = 20.0
AT_ONCE = 8
"""Questions put to a server at the same time."""
SERVER_AWAY = "J2K520"
"""Code of the error that the server is away: it says nothing of the run."""


def project_files(folder: Path, leave: frozenset[Path] = frozenset()) -> list[str]:
    """Return the project's files that travel, relative to it. Raises UsageError (J2K241) when they are too many bytes."""
    found, size = [], 0
    for name in below(folder, leave):
        if not withheld(name):
            size += (folder / name).stat().st_size
            found.append(name)
    if size > MOST:
        raise UsageError(
            "J2K241",
            f"the files of {folder} have {size / 1e9:.1f} GB, more than travel with a notebook",
            "put big data on a volume (`#| volume: claim:/path`), or the notebook into a folder of its own",
        )
    return found


def credentials(folder: Path) -> list[str]:
    """Return the project's files that stay here because they look like credentials, relative to it."""
    return [name for name in below(folder) if withheld(name)]


def withheld(name: str) -> bool:
    """Return whether a file of the project is taken for credentials, by its name in the project alone."""
    return bool(denied(os.path.join(os.sep, name)))


def below(folder: Path, leave: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Yield the files of a project, relative to it, but for those of folders that never travel."""
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in travelling(place, folders) if Path(place, f) not in leave]
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink() and path not in leave:
                yield str(path.relative_to(folder))


def travelling(place: str, folders: Iterable[str]) -> list[str]:
    """Return those of the folders at a place that travel: neither tools' own nor environments."""
    return sorted(
        name
        for name in folders
        if name not in LEFT_HERE
        and not any(os.path.exists(os.path.join(place, name, mark)) for mark in ENVIRONMENTS)
    )


def project_folders(folder: Path) -> list[str]:
    """Return the project's folders, relative to it: a cell may want an empty one."""
    found = []
    for place, folders, _ in os.walk(folder):
        folders[:] = travelling(place, folders)
        found += [os.path.relpath(os.path.join(place, name), folder) for name in folders]
    return found


def job_of(
    settings: Settings, name: str, compiled: Compiled, files: Mapping[str, FileImage], digests: bool = False
) -> Job:
    """Return the job of a compiled notebook."""
    notebook = located(settings.notebook)
    wanted = (*THREAD_VARIABLES, "PYTHONHASHSEED")
    return Job(
        name=name,
        plan=compiled.plan,
        sources={c.index: c.source for c in compiled.notebook.code},
        keys=compiled.keys,
        notebook=str(notebook),
        project=str(notebook.parent),
        folders=tuple(project_folders(notebook.parent)),
        files={path: dict(image) if image else None for path, image in files.items()},
        modules=compiled.modules,
        kernel=settings.kernel or compiled.notebook.kernel,
        environ={k: os.environ[k] for k in wanted if k in os.environ},
        parameters=digest(to_json(settings.parameters)),
        fresh=settings.fresh,
        keep_going=settings.keep_going,
        offload=settings.offload,
        digests=digests,
        redo=settings.redo,
        skip=settings.skip,
        collect=settings.collect,
    )


class Away:
    """One run at a server. `store` is that server's; `number`: of the parameter set, in a sweep."""

    def __init__(self, link: Link, store: RemoteStore, number: int = 0) -> None:
        self.link, self.store, self.number = link, store, number

    def submit(self, job: Job) -> str:
        """Send the job; return the id of its run. The same job twice is the same run."""
        document = canonical(to_json(job))
        self.store.put_blob(document)
        where = {"sha256": digest(document), "bytes": len(document), "set": self.number}
        return str(self.link.ask("/v1/job", where)["run"])

    def follow(self, tell: Callable[[Told], None]) -> bool:
        """Tell what happens until the run has ended; return whether its main line came to an end."""
        last = 0
        while True:
            found = self.link.ask("/v1/events", {"after": last, "wait": WAIT, "set": self.number}, wait=WAIT)
            last = found["last"]
            for event in found["events"]:
                tell(told(event))
            if found["ended"] is not None:
                return bool(found["ended"])

    def follow_sets(self, numbers: Iterable[int], tell: Callable[[int, Told], None]) -> Iterator[int]:
        """Tell what happens in the sets of a sweep; yield the number of each as it ends."""
        last = dict.fromkeys(numbers, 0)
        while last:
            body = {"after": {str(number): known for number, known in last.items()}, "wait": WAIT}
            found = self.link.ask("/v1/news", body, wait=WAIT)
            for number, news in ((int(n), news) for n, news in found["sets"].items()):
                last[number] = news["last"]
                for event in news["events"]:
                    tell(number, told(event))
                if news["ended"] is not None:
                    del last[number]
                    yield number

    def result(self) -> Mapping[str, Any]:
        """Return the record of the main line. Raises EnvironmentProblem (J2K406) where there is none."""
        found = self.link.ask("/v1/result", {"set": self.number})
        if found["record"] is None:
            raise EnvironmentProblem(
                "J2K406",
                f"the main line could not be run: {found['reason']}",
                "what was finished is kept: run again, and it continues",
            )
        record: Mapping[str, Any] = found["record"]
        return record


def told(event: Mapping[str, Any]) -> Told:
    """Return an event of the server's log as the story knows it."""
    return Told(
        event["kind"],
        event.get("cell"),
        event.get("where", "main"),
        event.get("text", ""),
        event.get("seconds"),
    )


def execute(
    settings: Settings, tell: Callable[[Told], None], away: Away, name: str, folder: Path
) -> Execution:
    """Run the notebook at a server; its files come back into the project folder. `folder`: for what they replace."""
    began = time.monotonic()
    notebook = read_notebook(settings)
    compiled = compile_notebook(notebook, settings, away.store)
    project = located(settings.notebook).parent
    files = post_images(project, project_files(project), away.store)
    run = away.submit(job_of(settings, name, compiled, files))
    away.follow(tell)
    return gather(away, settings, compiled, run, began, folder)


def gather(
    away: Away, settings: Settings, compiled: Compiled, run: str, began: float, folder: Path
) -> Execution:
    """Bring outcomes and files of a run that has ended. Raises the error that ended it, if one did."""
    bring_files(away, settings, folder)
    return outcomes_of(away, compiled, run, began)


def bring_files(away: Away, settings: Settings, folder: Path) -> None:
    """Put the files that a run has left into the project; `folder` keeps what they replace."""
    record = away.result()
    project = located(settings.notebook).parent
    for name in record["folders"]:
        (project / name).mkdir(parents=True, exist_ok=True)
    put_back(project, record["files"], away.store, folder)


def outcomes_of(away: Away, compiled: Compiled, run: str, began: float) -> Execution:
    """Return what came of a run that has ended. Raises the error that ended it, if one did."""
    record = away.result()
    blob = record["blobs"][0]
    whole = json.loads(away.store.read_blob(blob["sha256"], blob["bytes"]))
    outcomes = {int(i): from_json(CellOutcome, o) for i, o in whole["outcomes"].items()}
    if record["problem"] is not None:
        problem = record["problem"]
        raise EnvironmentProblem(problem["code"], problem["message"], problem["hint"])
    return Execution(
        compiled.notebook,
        from_json(Plan, whole["plan"]),
        outcomes,
        record["stopped"],
        run,
        time.monotonic() - began,
        values=whole["collected"],
        validation_seconds=whole["validation_seconds"],
    )


def learn(away: Away, keys: Iterable[str], store: Store) -> None:
    """Take over what a run has learned of the cells with these profile keys: the next plan made here knows it.

    What cannot be had is learned again: it is no reason to fail a run that is done.
    """
    there, wanted = away.store.profile(), sorted(set(keys))
    with contextlib.suppress(Jup2KubError), ThreadPoolExecutor(AT_ONCE) as pool:
        for key, facts in zip(wanted, pool.map(there.get, wanted), strict=True):
            if facts is not None:
                store.learn(key, facts)


@dataclass(frozen=True)
class Sent:
    """One parameter set, on its way."""

    number: int
    settings: Settings
    compiled: Compiled
    run: str


def compile_set(settings: Settings, parameters: Mapping[str, Any], store: Store) -> tuple[Settings, Compiled]:
    """Compile the notebook for one parameter set; return its settings, too."""
    mine = replace(settings, parameters=parameters)
    return mine, compile_notebook(read_notebook(mine), mine, store)


def send_all(
    settings: Settings,
    sets: Sequence[Mapping[str, Any]],
    away: Away,
    name: str,
    store: Store,
    files: Mapping[str, FileImage],
) -> list[Sent]:
    """Compile the notebook for every parameter set and send the jobs to one server.

    `store`: which holds what was learned of the cells. `files`: those of the project, which that server has.
    """
    sent = []
    for number, parameters in enumerate(sets):
        mine, compiled = compile_set(settings, parameters, store)
        job = replace(job_of(mine, name, compiled, files), shared=len(sets) > 1)
        run = Away(away.link, away.store, number).submit(job)
        sent.append(Sent(number, mine, compiled, run))
    return sent


def sweep(
    sent: Sequence[Sent],
    away: Away,
    tell: Callable[[int, Told], None],
    finished: Callable[[Sent, Execution | Jup2KubError, float], None],
    folder: Path,
) -> None:
    """Follow all parameter sets until they have ended; `finished` is given each one's execution, and its seconds.

    Files come back at the end, set by set, as if the sets had run one after the other. Raises StoreProblem when the
    server is away for too long.
    """
    began, known = time.monotonic(), {mine.number: mine for mine in sent}
    for number in away.follow_sets(known, tell):
        mine = known[number]
        try:
            done = outcomes_of(Away(away.link, away.store, number), mine.compiled, mine.run, began)
        except Jup2KubError as problem:
            if problem.code == SERVER_AWAY:
                raise
            finished(mine, problem, time.monotonic() - began)
        else:
            finished(mine, done, time.monotonic() - began)
    for mine in sent:
        with contextlib.suppress(EnvironmentProblem):
            bring_files(Away(away.link, away.store, mine.number), mine.settings, folder)
