"""The agents that help with a loop: a kernel that stands in it, filled once, runs chunk after chunk.

It is given what the cell reads as a step would be, runs the cell up to the loop, and there proves that all the loop may
touch has the same value as where the loop began. Each chunk is committed; files that it wrote travel with the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jup2kub.agent import memory
from jup2kub.agent.apart import define
from jup2kub.agent.aside import in_thread
from jup2kub.agent.files import post_images
from jup2kub.agent.kernel import Kernel, KernelDied, RequestFailed, RunCell
from jup2kub.agent.session import Session
from jup2kub.agent.steps import CRASHES, ReplayFailed, Unloadable
from jup2kub.engine.pod.bench import Bench
from jup2kub.engine.pod.tasks import touches
from jup2kub.engine.sharing import LOOP
from jup2kub.model.plan import CellPlan
from jup2kub.store import Slot

Letter = Mapping[str, Any]
Range = tuple[int, int]
PATIENCE = 60.0
"""Seconds that a kernel may need to come to its loop, beside …"""
SLOWER = 10.0
"""… so many times what the first one needed."""


class Unfit(Exception):
    """The loop cannot be had here, and not on another machine either."""


class Host:
    """One kernel that stands in a loop."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting: dict[Range, asyncio.Future[Mapping[str, Any]]] = {}
        self._running: asyncio.Task[None] | None = None
        kernel.hush()
        kernel.loops = self._heard

    def enter(self, request: RunCell) -> None:
        """Let the kernel run the cell up to the loop."""
        self._running = asyncio.ensure_future(self._run(request))

    async def _run(self, request: RunCell) -> None:
        end: Exception
        try:
            result = await self.kernel.run(request)
            error = result.error or {}
            end = Unfit(f"the cell does not come to it there {error.get('evalue', '')}".rstrip())
        except (KernelDied, RequestFailed) as problem:
            end = problem
        if not self.ready.done():
            self.ready.set_exception(end)
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(end)

    def _heard(self, event: Mapping[str, Any]) -> None:
        what = event["what"]
        if what == "ready" and not self.ready.done():
            self.ready.set_result(None)
        elif what == "unfit" and not self.ready.done():
            self.ready.set_exception(Unfit(str(event["why"])))
        elif what in ("chunk", "lost"):
            future = self.waiting.get((event["chunk"][0], event["chunk"][1]))
            if future is not None and not future.done():
                future.set_result(event)

    @property
    def alive(self) -> bool:
        """Whether it can take chunks."""
        return not self.kernel.dead.done() and self._running is not None and not self._running.done()

    async def chunk(self, wanted: Range) -> Mapping[str, Any]:
        """Have iterations run; return what the kernel said in the end. Raises KernelDied."""
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting[wanted], kills = future, memory.kills()
        self.kernel.say({"run": list(wanted)})
        try:
            found = await future
            return {**found, "cause": _cause(found.get("signal", 0), memory.kills() > kills)}
        except asyncio.CancelledError:
            self.kernel.say({"drop": list(wanted)})
            raise
        finally:
            self.waiting.pop(wanted, None)

    async def close(self) -> None:
        """End the kernel, which is in the middle of its cell."""
        self.kernel.kill()
        if self._running is not None:
            await asyncio.wait({self._running})
        if self.ready.done() and not self.ready.cancelled():
            self.ready.exception()  # nobody may be left who waits for it
        await self.kernel.close(over=False)


class Hosts:
    """Those of one agent; `worker` is its name at the server. `alone`: whether nobody else is at work in its folder."""

    def __init__(self, bench: Bench, worker: str, alone: Callable[[], bool]) -> None:
        self.bench, self._worker, self._alone = bench, worker, alone
        self._hosts: dict[str, asyncio.Task[Host]] = {}
        self._unfit: dict[str, str] = {}

    async def run(self, letter: Letter, over: Callable[[], None]) -> dict[str, Any]:
        """Run one attempt of a chunk; return its outcome as it is reported. `over` is called when it is committed."""
        loop, cell = str(letter["loop"]), int(letter["cell"])
        wanted = (int(letter["range"][0]), int(letter["range"][1]))
        await self.free(loop)
        try:
            if loop in self._unfit:
                raise Unfit(self._unfit[loop])
            host = await self._host(loop, letter)
            found = await host.chunk(wanted)
            if found["what"] == "lost" and not found["fault"]:
                return {"kind": "lost", "cell": cell, "reason": found["why"], "cause": found["cause"]}
            over()
            await asyncio.to_thread(self._commit, letter, found)
            host.kernel.say({"kept": list(wanted)})
            return {"kind": "done", "cell": cell, "generation": int(letter["generation"])}
        except Unfit as unfit:
            self._unfit[loop] = str(unfit)
            return {"kind": "raised", "cell": cell, "early": False, "reason": str(unfit)}
        except KernelDied as death:
            cause = "crashed" if death.death.signal in CRASHES else "died"
            cause = "memory" if death.death.memory else cause
            return {"kind": "lost", "cell": cell, "reason": death.message, "cause": cause}
        except (ReplayFailed, Unloadable, RequestFailed) as failure:
            return {"kind": "lost", "cell": cell, "reason": str(failure), "cause": "died"}

    async def _host(self, loop: str, letter: Letter) -> Host:
        """Return the kernel that stands in the loop; chunks that come together share it."""
        known = self._hosts.get(loop)
        if known is not None and known.done() and (_failed(known) or not known.result().alive):
            await self._end(loop)
            known = None
        if known is None:
            known = self._hosts[loop] = asyncio.ensure_future(self._enter(letter))
        return await asyncio.shield(known)

    async def _enter(self, letter: Letter) -> Host:
        bench, blob = self.bench, letter["letter"]
        text = await asyncio.to_thread(bench.store.read_blob, blob["sha256"], blob["bytes"])
        whole = json.loads(text)
        told = await in_thread(bench.told, whole, f"{letter['loop']}-{letter['chunk']}", lambda told: None)
        if isinstance(told, int):
            raise Unfit(f"cell {told}, which it reads, was not made")
        session, files, folders = told
        cell = session.cells[int(letter["cell"])]
        if letter["at"] != self._worker:  # there the project is as the loop has it
            await bench.fill(files, folders, self._alone, touches(bench.job.plan, cell))
        kernel, _ = await bench.kernels.ready(session, cell)
        session.undo.forget()
        host = Host(kernel)
        try:
            await _into(session, kernel, cell, host, whole["part"])
            limit = PATIENCE + SLOWER * float(whole["part"]["before"])
            await asyncio.wait_for(asyncio.shield(host.ready), limit)
        except asyncio.TimeoutError:
            await host.close()
            raise Unfit(f"the cell does not come to it there within {limit:.0f} s") from None
        except BaseException:
            await host.close()
            raise
        return host

    def _commit(self, letter: Letter, found: Mapping[str, Any]) -> None:
        """Make what a chunk left durable. Whoever is first wins, and nobody needs to know who. Raises Jup2KubError."""
        bench, (start, stop) = self.bench, letter["range"]
        record: dict[str, Any] = {"status": "ok", "range": [start, stop], "worker": bench.worker, "blobs": []}
        path = Path(found.get("path") or "")
        names: dict[str, str] = {}
        if found["what"] == "lost":
            record["reason"] = found["why"]
        else:
            names, record["reason"] = self._written(path)
        if not record["reason"]:
            size = path.stat().st_size
            inner = sorted(set(names.values()))
            record["files"] = post_images(bench.workspace.folder, inner, bench.store)
            record["names"] = names
            record["folders"] = [n for n in inner if (bench.workspace.folder / n).is_dir()]
            record["blobs"] = [{"sha256": bench.store.adopt_blob(path), "bytes": size}]
        slot = Slot(bench.run, f"{LOOP}{letter['cell']}", int(letter["chunk"]), int(letter["generation"]))
        bench.store.commit(slot, record)

    def _written(self, path: Path) -> tuple[dict[str, str], str]:
        """Return the files that a chunk wrote, relative to the project by the names it has for them, or why they cannot go."""
        try:
            listed = json.loads(Path(f"{path}.files").read_text("utf-8"))
        except FileNotFoundError:
            return {}, ""
        folder = os.path.realpath(self.bench.workspace.folder)
        names = {}
        for name in listed:
            inner = os.path.relpath(os.path.realpath(name), folder)
            if not inner.startswith(".."):
                names[name] = inner
            elif os.path.lexists(name):
                return {}, f"writes `{name}`, which lies outside the project folder"
        return names, ""

    # -- ends ----------------------------------------------------------------------------------------------------

    async def free(self, loop: str = "") -> None:
        """End the kernels of all loops but this one, where no chunk is under way."""
        for name, task in list(self._hosts.items()):
            if name != loop and task.done() and (_failed(task) or not task.result().waiting):
                await self._end(name)

    async def _end(self, loop: str) -> None:
        task = self._hosts.pop(loop, None)
        if task is not None:
            if not task.done():
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await (await task).close()

    async def gathered(self, loop: str) -> None:
        """The loop is done."""
        await self._end(loop)

    async def close(self) -> None:
        """End all of them."""
        for loop in list(self._hosts):
            await self._end(loop)


def _cause(number: int, hungry: bool) -> str:
    """Return why a child of a kernel died, as `Lost` has it, by the signal that ended it; 0 = it ended by itself."""
    if number == signal.SIGKILL:
        return "memory" if hungry else "died"
    return "crashed" if not number or signal.Signals(number).name in CRASHES else "died"


def _failed(task: asyncio.Task[Host]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _into(
    session: Session, kernel: Kernel, cell: CellPlan, host: Host, part: Mapping[str, Any]
) -> None:
    """Let a kernel that has all the cell reads run it up to the loop."""
    split = bool(cell.lifted)
    if split:
        try:
            await define(session, kernel, cell)
        except RequestFailed:
            split = False
    host.enter(
        RunCell(
            cell=cell.index,
            count=session.counts[cell.index],
            source=session.sources[cell.index],
            project=str(session.terms.project),
            maps=session.map_loops(cell),
            workers=2,
            map_settings={"host": part},
            inputs={session.counts[i]: session.sources[i] for i in session.cells if i < cell.index},
            secret=cell.secret,
            apart=cell.lifted_lines if split else (),
        )
    )
