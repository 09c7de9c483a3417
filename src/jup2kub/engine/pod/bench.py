"""What the tasks of one agent share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jup2kub.agent.aside import InTurn, in_thread
from jup2kub.agent.files import FileImage
from jup2kub.agent.launch import Launch
from jup2kub.agent.observed import met
from jup2kub.agent.rewind import UndoLog
from jup2kub.agent.seen import with_versions
from jup2kub.agent.session import Session, Terms, Told
from jup2kub.engine.pod.counter import Desk
from jup2kub.engine.pod.kernels import Kernels
from jup2kub.engine.pod.workspace import Mark, Workspace, made_folders
from jup2kub.model.job import Job
from jup2kub.store import Slot
from jup2kub.store.remote import RemoteStore


@dataclass
class Bench:
    """What the tasks of one agent share."""

    worker: str
    """Its name, as outcomes tell it."""
    run: str
    round: int
    """Generation of the slot that the main line commits to."""
    job: Job
    store: RemoteStore
    launch: Launch
    workspace: Workspace
    desk: Desk
    kernels: Kernels
    door: asyncio.Lock | None = None
    """Held by whoever brings files into the folder; None = nobody has."""

    def session(self, name: str, world_digest: str, tell: Callable[[Told], None]) -> Session:
        """Return a session for one attempt."""
        job = self.job
        terms = Terms(
            run=self.run,
            project=self.workspace.folder,
            workers=max(1, job.plan.workers),
            fresh=job.fresh,
            keep_going=job.keep_going,
            fork=False,
            offload=job.offload,
            digests=job.digests,
            redo=job.redo,
            asked=f"job {self.round}",
            skip=job.skip,
            collect=job.collect,
            environ=dict(self.launch.env),
        )
        undo = UndoLog(self.store.undo_folder(self.run) / name)
        made = Session(job.plan, job.sources, self.store, terms, world_digest, tell, job.keys, undo)
        made.aside = InTurn()
        return made

    async def fill(
        self,
        files: Mapping[str, FileImage],
        folders: Iterable[str],
        alone: Callable[[], bool],
        touches: Callable[[str], bool] | None,
    ) -> dict[str, Mark]:
        """Bring files into the project's folder, for one task after the other; return how it is then.

        `alone`: whether nobody else is at work in it, asked when it is this task's turn. See `Workspace.bring`.
        """
        self.door = self.door or asyncio.Lock()
        async with self.door:
            await in_thread(self.workspace.bring, files, folders, None if alone() else touches)
            return self.workspace.marks()

    def told(
        self, letter: Mapping[str, Any], name: str, tell: Callable[[Told], None]
    ) -> tuple[Session, dict[str, Any], list[str]] | int:
        """Return a session that knows what a letter tells, and the files and folders of the project by then.

        An int = this cell, which is read, was not made.
        """
        session = self.session(name, letter["world"], tell)
        beyond = {int(i): frozenset(names) for i, names in letter["beyond"].items()}
        session.use(with_versions(self.job.plan, beyond), self.job.keys)
        session.met.update({int(i): text for i, text in letter["met"].items()})
        session.records.update({int(i): record for i, record in letter["records"].items()})
        files, folders = dict(letter["files"]), list(letter["folders"])
        for needed in letter["inputs"]:
            producer = int(needed["cell"])
            record = self.store.record(Slot(self.run, f"cell-{producer}", 0, int(needed["generation"])))
            if record is None or record["status"] != "ok":
                if not needed["near"]:
                    continue
                return producer
            session.keys.executed(
                producer, met(record["observed"], None if record["repeatable"] else record["token"])
            )
            if not needed["near"]:
                continue
            session.records[producer] = record
            files.update(record["files"])
            folders += made_folders(record)
        return session, files, folders
