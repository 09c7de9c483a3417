"""An agent: it offers a pod's capacity to a run server, and works until there is nothing more to do.

The event loop carries kernels and tasks; threads carry what waits for the server (letters, beats, reports), so that a
server that is away stops nothing that is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jup2kub.agent.launch import find
from jup2kub.agent.outputs import Output
from jup2kub.agent.session import Told
from jup2kub.engine.pod.bench import Bench
from jup2kub.engine.pod.counter import Desk
from jup2kub.engine.pod.hosts import Hosts
from jup2kub.engine.pod.kernels import Kernels
from jup2kub.engine.pod.settings import HIDDEN
from jup2kub.engine.pod.tasks import Main, step
from jup2kub.engine.pod.workspace import Workspace
from jup2kub.engine.tasks import MAIN
from jup2kub.errors import Jup2KubError, StoreProblem
from jup2kub.kit.canon import from_json
from jup2kub.model.job import Job
from jup2kub.store.link import Link
from jup2kub.store.remote import RemoteStore

POLL = 20.0
"""Seconds that the server may keep a request for letters."""
SHOWN = 4_000
"""Characters of one output that the story tells; the executed notebook has all of it."""
NAMES_OF = 1
"""The process that files of cells are named after, the same in all kernels of a run: their names are the same everywhere."""


@dataclass(frozen=True)
class Capacity:
    """What an agent offers, and who it is."""

    worker: str
    """Its name; no two processes ever share one."""
    image: str = ""
    cpu: float = 1.0
    memory: int = 0
    """Bytes; 0 = not known."""
    gpu: int = 0
    idle: float = 0.0
    """Seconds without a task after which it goes; 0 = never."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Pod, node and the like, for people."""


class Agent:
    """`project`: the folder to work in; None = the one that the job names. `cache`: a private folder."""

    def __init__(
        self,
        link: Link,
        capacity: Capacity,
        cache: Path,
        environ: Mapping[str, str],
        project: Path | None = None,
        kernels: Kernels | None = None,
        foreign: frozenset[str] | None = None,
    ) -> None:
        self.link, self.capacity, self.project = link, capacity, project
        self.kernels = kernels
        """Those of the agent before in this process; `close` ends them when there is no next one."""
        self.store = RemoteStore(link, cache)
        self._environ = {k: v for k, v in environ.items() if not k.startswith(HIDDEN)}
        self.foreign = foreign
        """Files of the folder that are none of the project's; None = what lies there now."""
        self.bench: Bench | None = None
        """What its tasks share; None = it has not joined."""
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._ending: set[tuple[str, int]] = set()
        """Attempts that were told to stop: until they have, they may put files back."""
        self._lent: dict[str, int] = {}
        self._hosts: Hosts | None = None
        self._main: Main | None = None
        self._outbox: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._acked = self._number = 0
        self._beat = 5.0
        """Seconds between heartbeats, as the server wants them."""
        self._left = threading.Event()
        self._chores: set[asyncio.Future[None]] = set()
        self._over: set[tuple[str, int]] = set()
        """Attempts that are committed, and only have to end."""
        self.ticked = time.monotonic()
        """When the event loop was last seen at work, for the probe of the pod."""

    # -- from beginning to end -----------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Work until the run is over, the server says so, or there was nothing to do for long.

        Returns whether the server has other work, for which one must join again under another name. Raises StoreProblem.
        """
        more = False
        joined = await asyncio.to_thread(self._join)
        self.bench = bench = await self._begin(joined)
        self._hosts = Hosts(bench, self.capacity.worker, lambda: len(self._running) < 2)
        threads = [
            threading.Thread(target=act, name=act.__name__, daemon=True)
            for act in (self._beats, self._reports)
        ]
        for thread in threads:
            thread.start()
        ticks = asyncio.ensure_future(self._tick())
        bench.kernels.warm()
        try:
            sent_away = await self._listen()
        finally:
            ticks.cancel()
            await self._stop(bench)
            self._outbox.put(None)
            await asyncio.to_thread(threads[1].join, 30.0)
            self._left.set()
            with contextlib.suppress(StoreProblem):
                more = bool((await asyncio.to_thread(self._ask, "leave", {}, 5.0)).get("more"))
        return more and sent_away

    def _ask(self, what: str, body: Mapping[str, Any], patience: float = -1.0, wait: float = 0.0) -> Any:
        mine = {**body, "worker": self.capacity.worker}
        return self.link.ask(f"/v1/{what}", mine, wait=wait, patience=patience)

    def _join(self) -> Any:
        """Offer the capacity, with what is under way; wait for a job if there is none yet."""
        mine = self.capacity
        running = [[task, attempt, "RUNNING"] for task, attempt in self._running]
        body = {
            "image": mine.image,
            "cpu": mine.cpu,
            "memory": mine.memory,
            "gpu": mine.gpu,
            "about": dict(mine.about),
            "running": running,
            "run": self.bench.run if self.bench is not None else None,
        }
        while True:
            joined = self._ask("join", body)
            if joined["job"] is not None or self.link.stop.wait(0.2):
                self._acked = 0
                self._beat = float(joined.get("beat", 5.0))
                return joined

    async def _begin(self, joined: Mapping[str, Any]) -> Bench:
        where = joined["job"]
        job = from_json(Job, json.loads(self.store.read_blob(where["sha256"], where["bytes"])))
        folder = self.project or Path(job.project)
        workspace = Workspace(folder, self.store, job.files, job.folders, self.foreign)
        self.foreign = workspace.foreign
        launch = find(job.kernel, cwd=str(folder), env={**self._environ, **job.environ})
        desk = Desk(self._ask, self._say, self._lend, self._end)
        name = str(self.capacity.about.get("pod") or self.capacity.worker)
        kernels = self.kernels
        if kernels is None or kernels.launch != launch:
            await self.close()
            kernels = self.kernels = Kernels(launch, NAMES_OF, self._shown)
        kernels.shown = self._shown
        run, end = str(joined["run"]), int(joined["round"])
        await asyncio.to_thread(self.store.workshop, run)  # known from here on, where nobody waits for it
        return Bench(name, run, end, job, self.store, launch, workspace, desk, kernels)

    async def close(self) -> None:
        """End the kernels that are left for the next agent of this process."""
        if self.kernels is not None:
            await self.kernels.close()

    async def _stop(self, bench: Bench) -> None:
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self._hosts is not None:
            await self._hosts.close()
        await bench.kernels.clear()

    async def _tick(self) -> None:
        while True:
            self.ticked = time.monotonic()
            await asyncio.sleep(1.0)

    def _shown(self, cell: int, output: Output) -> None:
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        self._told(MAIN, 0, Told("output", cell, text="".join(text)[:SHOWN]))

    # -- letters -------------------------------------------------------------------------------------------------

    async def _listen(self) -> bool:
        """Take letters until there will be none; return whether the server said so."""
        quiet = time.monotonic()
        while not self.link.stop.is_set():
            try:
                body = {
                    "acked": self._acked,
                    "wait": POLL if not self.capacity.idle else min(POLL, self.capacity.idle),
                }
                found = await asyncio.to_thread(self._ask, "poll", body, -1.0, POLL)
            except StoreProblem as problem:
                if problem.code != "J2K524":
                    raise
                await self._rejoin()
                continue
            for letter in found["letters"]:
                if letter["number"] > self._acked:
                    self._acked = letter["number"]
                    if letter["do"] == "leave":
                        return True
                    self._take(letter)
            if self._running or found["letters"]:
                quiet = time.monotonic()
            elif self.capacity.idle and time.monotonic() - quiet >= self.capacity.idle:
                return False
        return False

    async def _rejoin(self) -> None:
        """The server has started again and knows nothing of this agent: say who is here and what is under way."""
        await asyncio.to_thread(self._join)
        if self._main is not None and self._main.hands is not None:
            await asyncio.to_thread(self._main.hands.send_again)
        assert self.bench is not None
        for sender in list(self.bench.desk.senders):
            await asyncio.to_thread(sender.say_again)

    def _take(self, letter: Mapping[str, Any]) -> None:
        assert self.bench is not None
        assert self._hosts is not None
        if letter["do"] == "gathered":
            self._chores.add(asyncio.ensure_future(self._hosts.gathered(str(letter["loop"]))))
            return
        if letter["do"] == "settled":
            for sender in list(self.bench.desk.senders):
                sender.settled(letter)
            if self._main is not None and self._main.hands is not None:
                self._main.hands.settled(letter)
            return
        name = (str(letter["task"]), int(letter["attempt"]))
        if letter["do"] == "start" and name not in self._running:
            self._running[name] = asyncio.ensure_future(self._attempt(name, letter))
            self._running[name].add_done_callback(lambda _: self._ended(name))
        elif letter["do"] == "abandon":
            self._abandon(name)

    def _abandon(self, name: tuple[str, int]) -> None:
        if name in self._running and name not in self._over:
            self._ending.add(name)
            self._running[name].cancel()

    def _ended(self, name: tuple[str, int]) -> None:
        """An attempt is over, however it ended, and be it before it began."""
        self._running.pop(name, None)
        self._lent.pop(name[0], None)
        self._over.discard(name)
        self._ending.discard(name)

    async def _end(self, tasks: Collection[str]) -> None:
        """Stop the attempts of these tasks, and wait until they touch nothing any more."""
        mine = [name for name in self._running if name[0] in tasks]
        for name in mine:
            self._abandon(name)
        await self._wait_for(mine)

    async def _wait_for(self, names: Iterable[tuple[str, int]]) -> None:
        under_way = [self._running[name] for name in names if name in self._running]
        if under_way:
            await asyncio.wait(under_way)

    async def _attempt(self, name: tuple[str, int], letter: Mapping[str, Any]) -> None:
        task, number = name
        await self._wait_for(self._ending - {name})
        self._say({"event": "started", "task": task, "attempt": number})
        assert self.bench is not None
        assert self._hosts is not None
        try:
            if "loop" in letter:
                outcome = await self._hosts.run(letter, lambda: self._over.add(name))
            elif task == MAIN:
                self._main = Main(self.bench, letter, lambda told: self._told(task, number, told))
                outcome = await self._main.run()
            else:
                await self._hosts.free()
                outcome = await step(
                    self.bench,
                    letter,
                    lambda told: self._told(task, number, told),
                    lambda: self._over.add(name),
                    lambda: all(n == name or t.done() for n, t in self._running.items()),
                )
        except asyncio.CancelledError:
            return
        except Exception as problem:
            # Whatever it is, the server must learn that the attempt is over. A fault of this program seldom goes away.
            cause = "died" if isinstance(problem, (Jup2KubError, OSError)) else "crashed"
            text = f"{type(problem).__name__}: {problem}"
            outcome = {"kind": "lost", "cell": letter.get("cell"), "reason": text, "cause": cause}
        finally:
            if task == MAIN:
                self._main = None
        self._say({"event": "ended", "task": task, "attempt": number, "outcome": outcome})

    # -- to the server -------------------------------------------------------------------------------------------

    def _say(self, event: Mapping[str, Any]) -> None:
        self._outbox.put(event)

    def _told(self, task: str, attempt: int, told: Told) -> None:
        self._say({"event": "told", "task": task, "attempt": attempt, "told": dict(vars(told))})

    def _lend(self, task: str, wanted: int) -> int:
        """Lend a task of this agent cores that no other of its tasks uses."""
        others = sum(self._lent.get(name, 1) for name, _ in self._running if name != task)
        found = min(wanted, max(1, int(self.capacity.cpu) - others)) if wanted else 0
        self._lent[task] = max(1, found)
        number = next((n for name, n in self._running if name == task), 0)
        self._say({"event": "cores", "task": task, "attempt": number, "cores": float(found)})
        return found

    def _beats(self) -> None:
        while not self._left.wait(self._beat):
            with contextlib.suppress(StoreProblem):
                self._ask("beat", {}, self._beat)

    def _reports(self) -> None:
        """Send events in order, those that have come meanwhile together; None ends it."""
        over = False
        while not over:
            events = [self._outbox.get()]
            with contextlib.suppress(queue.Empty):
                while len(events) < 1000:
                    events.append(self._outbox.get_nowait())
            over = None in events
            numbered = []
            for event in events:
                if event is not None:
                    self._number += 1
                    numbered.append({**event, "number": self._number})
            while numbered and not self.link.stop.is_set():
                try:
                    self._ask("report", {"events": numbered})
                    break
                except StoreProblem as problem:
                    # A server that has forgotten this agent: it joins again, then this is said once more.
                    if problem.code != "J2K524" or self._left.wait(0.2):
                        break


async def serve(
    link: Link, offer: Capacity, cache: Path, environ: Mapping[str, str], project: Path | None = None
) -> None:
    """Be an agent, once more under another name as long as the server has work: another set is another project."""
    number, more, kernels, foreign = 0, True, None, None
    while more:
        number += 1
        mine = replace(offer, worker=f"{offer.worker}-{number}")
        agent = Agent(link, mine, cache, environ, project, kernels, foreign)
        try:
            more = await agent.run()
        except BaseException:
            await agent.close()
            raise
        kernels, foreign = agent.kernels, agent.foreign
    await agent.close()
