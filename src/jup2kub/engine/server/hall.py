"""A run server without its socket: waits for a job, or finds the one that an earlier server of the run left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.engine.budgets import Config
from jup2kub.engine.server.desk import Desk
from jup2kub.engine.server.staff import Staff
from jup2kub.engine.server.storeapi import StoreApi
from jup2kub.engine.server.web import Site
from jup2kub.errors import StoreProblem
from jup2kub.kit.canon import canonical, from_json, to_json
from jup2kub.model.job import JOB_VERSION, STEP, Job
from jup2kub.store import UNFINISHED, BlobRef, RunKey, Slot, Store

SERVER = "server"
"""Name of the step whose generations are the epochs of a run's servers."""
LOOK = 5.0
"""Seconds between looks whether a later server has taken over."""
ROUTES = (
    "poll",
    "beat",
    "leave",
    "report",
    "send",
    "withdraw",
    "events",
    "status",
    "cancel",
    "result",
)
STAFF = ("needs", "gone", "words")


class Hall:
    """Holds the store, the site, and the desk of the one run."""

    def __init__(self, store: Store, token: str, name: str = "", config: Config | None = None) -> None:
        self.store, self.name, self.config = store, name, config or Config()
        self.site = Site(StoreApi(store, self._committed), token, epoch=0)
        self.desk: Desk | None = None
        self.staff: Staff | None = None
        self.watchers: list[Callable[[Desk], None]] = []
        """Called with the desk as soon as there is one."""
        self._lock = threading.Lock()
        self._closed = False
        self._looked = 0.0
        self.site.routes["job"] = self._job
        self.site.routes["join"] = self._join
        for route in ROUTES:
            self.site.routes[route] = self._to_desk(route)
        for route in STAFF:
            self.site.routes[route] = self._to_staff(route)

    def _to_desk(self, route: str) -> Callable[[Mapping[str, Any]], Any]:
        def act(body: Mapping[str, Any]) -> Any:
            if self.desk is None:
                raise StoreProblem("J2K524", "the run server has no job yet", "send one, or wait for it")
            return getattr(self.desk, route)(body)

        return act

    def _to_staff(self, route: str) -> Callable[[Mapping[str, Any]], Any]:
        def act(body: Mapping[str, Any]) -> Any:
            if self.staff is None:
                raise StoreProblem("J2K524", "the run server has no job yet", "send one, or wait for it")
            return getattr(self.staff, route)(body)

        return act

    def _committed(self, slot: Slot, record: Any) -> None:
        if self.desk is not None:
            self.desk.committed(slot, record)

    def _join(self, body: Mapping[str, Any]) -> Any:
        return {"job": None} if self.desk is None else self.desk.join(body)

    # -- the job -------------------------------------------------------------------------------------------------

    def _job(self, body: Mapping[str, Any]) -> Any:
        """Take the job whose JSON is a blob of the store; the same one twice is the same run."""
        where = BlobRef(str(body["sha256"]), int(body["bytes"]))
        with self._lock:
            if self.desk is None:
                self._open(where)
            elif self.desk.where != where:
                raise StoreProblem("J2K525", "the run server has another job", "one server runs one notebook")
            assert self.desk is not None
            return {"run": self.desk.run}

    def _read(self, where: BlobRef) -> Job:
        job = from_json(Job, json.loads(self.store.read_blob(where.sha256, where.bytes)))
        if job.version != JOB_VERSION:
            raise StoreProblem(
                "J2K522", f"this run server knows jobs of version {JOB_VERSION}, not {job.version}"
            )
        return job

    def _open(self, where: BlobRef) -> None:
        job = self._read(where)
        key = RunKey(job.notebook, job.plan.source, job.parameters)
        run = self.store.open_run(key, fresh=job.fresh).id
        document = canonical(to_json(job.plan))
        self.store.update_run(run, plan=BlobRef(self.store.put_blob(document), len(document)))
        slot = self.store.next_generation(Slot(run, STEP))
        blob = {"sha256": where.sha256, "bytes": where.bytes}
        self.store.commit(slot, {"status": "job", "name": job.name, "blobs": [blob]})
        self._begin(run, job, where)

    def resume(self) -> bool:
        """Go on with the run of this name, if the store has one; return whether it has."""
        for info in self.store.runs():
            found = self.store.latest(info.id, STEP)
            if found is None or found[1].get("name") != self.name:
                continue
            if info.state in UNFINISHED:
                held = self.store.open_run(info.key)
                if held.id != info.id:
                    self.store.close_run(held.id, "interrupted")
                    raise StoreProblem("J2K512", f"another process holds run {info.id}", "end it first")
            else:
                self._closed = True
            blob = found[1]["blobs"][0]
            where = BlobRef(blob["sha256"], blob["bytes"])
            self._begin(info.id, self._read(where), where)
            return True
        return False

    def _begin(self, run: str, job: Job, where: BlobRef) -> None:
        """Become the run's server: an earlier one that still lives answers no more."""
        while True:
            slot = self.store.next_generation(Slot(run, SERVER))
            done = self.store.commit(slot, {"status": "server", "since": time.time()})
            if done.won:
                break
            if done.record is not None and done.record.get("status") == "cancelled":
                slot = Slot(run, SERVER)
                break
        self.site.epoch = slot.generation + 1
        desk = Desk(self.store, run, job, where, self.config)
        self.staff = Staff(desk)
        self.desk = desk
        for watcher in self.watchers:
            watcher(desk)

    # -- time ----------------------------------------------------------------------------------------------------

    def serve(self, stop: threading.Event) -> None:
        """Let time pass until told to stop, or until a later server takes over."""
        while not stop.is_set() and not self.site.fenced.is_set():
            stop.wait(self.tick())

    def tick(self) -> float:
        """Do what time asks for; return the seconds until the next tick."""
        self.site.ticked = time.monotonic()
        desk = self.desk
        if desk is None:
            return 0.2
        pause = desk.tick()
        if desk.ended is not None and not self._closed:
            self._closed = True
            self.store.close_run(desk.run, "done" if desk.ended else "failed")
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            if self.store.next_generation(Slot(desk.run, SERVER)).generation > self.site.epoch:
                self.site.fenced.set()
        return pause
