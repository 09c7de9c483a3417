"""A run server without its socket: waits for a job, or finds the one that an earlier server of the run left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.engine.budgets import Config
from jup2kub.engine.server.desk import Desk
from jup2kub.engine.server.floor import NO_JOB, Flights, Floor
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
    "report",
    "send",
    "withdraw",
    "events",
    "result",
)
SHARES = ("spread", "gathered")
STAFF = ("needs", "gone", "words")


class Hall:
    """Holds the store, the site, and the desk of the one run."""

    def __init__(self, store: Store, token: str, name: str = "", config: Config | None = None) -> None:
        self.store, self.name, self.config = store, name, config or Config()
        self.site = Site(StoreApi(store, self._committed), token, epoch=0)
        self.floor = Floor()
        self.staff = Staff(self.floor)
        self.flights = Flights(self.floor)
        self.watchers: list[Callable[[Desk], None]] = []
        """Called with the desk as soon as there is one."""
        self._lock = threading.Lock()
        self._closed: set[int] = set()
        """Sets whose runs are closed in the store."""
        self._looked = 0.0
        self.site.routes["job"] = self._job
        self.site.routes["join"] = self.floor.join
        self.site.routes["leave"] = self.floor.leave
        self.site.routes["news"] = self.floor.news
        self.site.routes["status"] = self.floor.status
        self.site.routes["cancel"] = self.floor.cancel
        self.site.routes["first"] = self.flights.first
        self.site.routes["land"] = self.flights.land
        for route in ROUTES:
            self.site.routes[route] = self._to_desk(route)
        for route in SHARES:
            self.site.routes[route] = self._to_shares(route)
        for route in STAFF:
            self.site.routes[route] = self._to_staff(route)

    @property
    def desk(self) -> Desk | None:
        """The desk of the notebook, or of the first set of a sweep; None = there is no job yet."""
        return self.floor.desks.get(0)

    def _to_desk(self, route: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda body: getattr(self.floor.of(body), route)(body)

    def _to_shares(self, route: str) -> Callable[[Mapping[str, Any]], Any]:
        return lambda body: getattr(self.floor.of(body).shares, route)(body)

    def _to_staff(self, route: str) -> Callable[[Mapping[str, Any]], Any]:
        def act(body: Mapping[str, Any]) -> Any:
            if self.desk is None:
                raise StoreProblem("J2K524", *NO_JOB)
            return getattr(self.staff, route)(body)

        return act

    def _committed(self, slot: Slot, record: Any) -> None:
        for desk in list(self.floor.desks.values()):
            desk.committed(slot, record)

    # -- the job -------------------------------------------------------------------------------------------------

    def _job(self, body: Mapping[str, Any]) -> Any:
        """Take the job, of one set of a sweep, whose JSON is a blob of the store; the same one twice is the same run."""
        where, number = BlobRef(str(body["sha256"]), int(body["bytes"])), int(body.get("set", 0))
        with self._lock:
            if number not in self.floor.desks:
                self._open(where, number)
            desk = self.floor.desks[number]
            if desk.where != where:
                raise StoreProblem("J2K525", "the run server has another job", "one server runs one notebook")
            return {"run": desk.run}

    def _read(self, where: BlobRef) -> Job:
        job = from_json(Job, json.loads(self.store.read_blob(where.sha256, where.bytes)))
        if job.version != JOB_VERSION:
            raise StoreProblem(
                "J2K522", f"this run server knows jobs of version {JOB_VERSION}, not {job.version}"
            )
        return job

    def _open(self, where: BlobRef, number: int) -> None:
        job = self._read(where)
        key = RunKey(job.notebook, job.plan.source, job.parameters)
        run = self.store.open_run(key, fresh=job.fresh).id
        document = canonical(to_json(job.plan))
        self.store.update_run(run, plan=BlobRef(self.store.put_blob(document), len(document)))
        slot = self.store.next_generation(Slot(run, STEP))
        blob = {"sha256": where.sha256, "bytes": where.bytes}
        self.store.commit(slot, {"status": "job", "name": job.name, "set": number, "blobs": [blob]})
        self._begin(run, job, where, number, slot.generation)

    def resume(self) -> bool:
        """Go on with the run of this name (of a sweep: with all of them), if the store has it; return whether it has."""
        for info in self.store.runs():
            found = self.store.latest(info.id, STEP)
            if found is None or found[1].get("name") != self.name or found[1]["set"] in self.floor.desks:
                continue
            if info.state in UNFINISHED:
                held = self.store.open_run(info.key)
                if held.id != info.id:
                    self.store.close_run(held.id, "interrupted")
                    raise StoreProblem("J2K512", f"another process holds run {info.id}", "end it first")
            else:
                self._closed.add(found[1]["set"])
            blob = found[1]["blobs"][0]
            where = BlobRef(blob["sha256"], blob["bytes"])
            self._begin(info.id, self._read(where), where, found[1]["set"], found[0].generation)
        return bool(self.floor.desks)

    def _begin(self, run: str, job: Job, where: BlobRef, number: int, round_: int) -> None:
        """Become the run's server: an earlier one that still lives answers no more."""
        while True:
            slot = self.store.next_generation(Slot(run, SERVER))
            done = self.store.commit(slot, {"status": "server", "since": time.time()})
            if done.won:
                break
            if done.record is not None and done.record.get("status") == "cancelled":
                slot = Slot(run, SERVER)
                break
        # The sets of a sweep have servers in common, but not all were there when the first one was.
        self.site.epoch = max(self.site.epoch, slot.generation + 1)
        desk = Desk(self.store, run, job, where, self.config, round_=round_)
        first = not self.floor.desks
        self.floor.add(number, desk)
        for watcher in self.watchers if first else ():
            watcher(desk)

    # -- time ----------------------------------------------------------------------------------------------------

    def serve(self, stop: threading.Event) -> None:
        """Let time pass until told to stop, or until a later server takes over."""
        while not stop.is_set() and not self.site.fenced.is_set():
            stop.wait(self.tick())

    def tick(self) -> float:
        """Do what time asks for; return the seconds until the next tick."""
        self.site.ticked = time.monotonic()
        desks = dict(self.floor.desks)
        pause = min((desk.tick() for desk in desks.values()), default=0.2)
        for number, desk in desks.items():
            if desk.ended is not None and number not in self._closed:
                self._closed.add(number)
                self.store.close_run(desk.run, "done" if desk.good else "failed")
        if len(desks) > 1:
            self.floor.balance()
        if desks and time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            run = next(iter(desks.values())).run
            if self.store.next_generation(Slot(run, SERVER)).generation > self.site.epoch:
                self.site.fenced.set()
        return pause
