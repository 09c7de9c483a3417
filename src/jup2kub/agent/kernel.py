"""The agent's side of a kernel child: a process that runs cells, seen as an asyncio object."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

from jup2kub.agent import memory
from jup2kub.agent.launch import Launch
from jup2kub.agent.messages import CellResult, ForkRefused, KernelDeath, KernelDied, RequestFailed, RunCell
from jup2kub.agent.outputs import CellOutputs, Output, assemble, output_of
from jup2kub.agent.spawn import HELLO, Spawned
from jup2kub.agent.wire import Process, Wire, adopt_orphans
from jup2kub.errors import EnvironmentProblem
from jup2kub.kit.canon import from_json
from jup2kub.model.facts import Facts

__all__ = [
    "CellResult",
    "ForkRefused",
    "Kernel",
    "KernelDeath",
    "KernelDied",
    "OnOutput",
    "RequestFailed",
    "RunCell",
]

STACKS_SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGUSR2) - (2 if hasattr(signal, "SIGRTMAX") else 0)
OnOutput = Callable[[int, Output], None]
"""Called with the cell and a piece of output as soon as it is there; text of the two streams in no exact order."""


def alone(wanted: int) -> int:
    """Lend no core but the one that a cell has."""
    return min(wanted, 1)


class Kernel:
    """One kernel child. Requests wait for each other; every method but `start` needs the kernel alive.

    Methods raise KernelDied if the process ends first, and RequestFailed if the child refuses.
    """

    def __init__(self, wire: Wire, process: Process, on_output: OnOutput | None, stacks: str) -> None:
        self._wire = wire
        self._process = process
        self._on_output = on_output
        self._stacks = stacks
        self._lock = asyncio.Lock()
        self._number = 0
        self._cell: int | None = None
        self._silent = False
        self._closing = False
        self._kills = memory.kills()
        self._messages: list[tuple[int, str, dict[str, Any]]] = []
        self.pid = process.pid
        self.cores: Callable[[int], int] = alone
        """Asked by a running cell for cores in all; 0 = it gives them back. Returns how many it has."""
        self.loops: Callable[[Mapping[str, Any]], None] = lambda event: None
        """Told what the running cell says of its loops."""
        self.info: Mapping[str, Any] = {}
        """The child's answer to `hello`: `python`, `ipykernel`, `pid`, `xxh3`."""
        self.dead: asyncio.Future[KernelDeath] = asyncio.get_running_loop().create_future()
        wire.on_event = self._event
        wire.on_text = self._text
        wire.on_end = self._ended
        wire.on_hangup = process.hung_up
        process.watch(wire.end)

    @classmethod
    async def start(
        cls, launch: Launch, on_output: OnOutput | None = None, names_of: int | None = None
    ) -> Kernel:
        """Start a kernel and wait until it can run cells. Raises EnvironmentProblem (J2K402, J2K403).

        `names_of`: pid of the main kernel, whose file names of cells this one shall use; None = its own.
        """
        return await cls.greet(Spawned(launch, names_of), on_output)

    @classmethod
    async def greet(cls, spawned: Spawned, on_output: OnOutput | None = None) -> Kernel:
        """Take over a process that was started, and wait until it can run cells. Raises EnvironmentProblem."""
        spawned.take()
        wire = Wire(spawned.control, spawned.out, spawned.err, spawned.token)
        process = Process(spawned.process.pid, spawned.process)
        kernel = cls(wire, process, on_output, spawned.stacks)
        kernel._silent, kernel._number = True, HELLO
        try:
            kernel.info = await kernel._answer("hello", wire.expect(HELLO))
        except KernelDied as died:
            Path(spawned.stacks).unlink()
            raise _does_not_start(spawned.launch, died, wire.take()) from died
        except asyncio.CancelledError:
            kernel.kill()
            await kernel.close()
            raise
        return kernel

    @property
    def busy(self) -> bool:
        """Whether it has been asked for something and has not answered yet."""
        return self._lock.locked()

    @property
    def running(self) -> int | None:
        """The cell that runs now; None = none."""
        return self._cell

    async def run(self, request: RunCell) -> CellResult:
        """Run a cell and return what it gave; an exception of the cell is a result, not raised."""
        async with self._lock:
            self._cell, self._silent, self._kills = request.cell, request.silent, memory.kills()
            self._wire.take()
            self._messages = []
            try:
                fields = {
                    key: value for key, value in vars(request).items() if value or key in ("cell", "count")
                }
                reply = await self._request("run", fields)
            except KernelDied as died:
                died.outputs = tuple(self._collect().outputs)
                raise
            finally:
                self._cell = None
            found = self._collect()
            return _result(request, reply, found)

    def _collect(self) -> CellOutputs:
        messages, self._messages = self._messages, []
        segments = self._wire.take()
        return CellOutputs() if self._silent else assemble(segments, messages)

    @contextlib.contextmanager
    def lent(self, cores: Callable[[int], int] | None) -> Iterator[None]:
        """Let cells that run in this context ask `cores`; what they still have at the end is given back."""
        self.cores = cores or alone
        try:
            yield
        finally:
            self.cores(0)
            self.cores = alone

    def say(self, message: Mapping[str, Any]) -> None:
        """Say something to the running cell, which waits for it or will look."""
        self._wire.send(message)

    def hush(self) -> None:
        """Show nothing of what cells write from now on."""
        self._on_output = None

    async def define(
        self, cell: int, count: int, source: str, lines: Iterable[int], maps: Iterable[Mapping[str, Any]] = ()
    ) -> list[str]:
        """Run only the statements of a cell that begin at `lines`; returns the names they define.

        Raises RequestFailed if one of them raises."""
        fields = {"count": count, "source": source, "lines": sorted(lines), "maps": list(maps)}
        return list((await self._ask("define", cell=cell, **fields))["names"])

    async def load(self, path: str, names: Iterable[str] | None = None) -> list[str]:
        """Bind the values stored in the file at `path` (those of `names` only); returns the names now bound."""
        reply = await self._ask("load", path=path, names=None if names is None else sorted(names))
        return list(reply["names"])

    async def drop(self, names: Iterable[str]) -> None:
        """Make `names` absent."""
        await self._ask("drop", names=sorted(names))

    async def save(
        self, groups: Iterable[Iterable[str]], folder: str, *, aside: bool = False
    ) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
        """Write each group of names into a file of `folder`; `aside`: to be kept, nobody is going to load it soon.

        Returns the saved groups (``names, path, bytes, sha256, cells``) and why others cannot travel, by name.
        """
        reply = await self._ask("save", groups=[sorted(g) for g in groups], folder=folder, aside=aside)
        return list(reply["saved"]), dict(reply["unshippable"])

    async def reveals(self, texts: Iterable[str]) -> bool:
        """Return whether a secret of the notebook stands in one of `texts`."""
        return bool((await self._ask("reveals", texts=list(texts)))["reveals"])

    async def weigh(self, names: Iterable[str]) -> int:
        """Return about how many bytes the big parts of the names' values have."""
        return int((await self._ask("weigh", names=sorted(names)))["bytes"])

    async def relate(self, names: Iterable[str], seconds: float | None = None) -> list[frozenset[str]]:
        """Return, for all names of the notebook, the groups that share something changeable with one of `names`.

        A value that cannot be looked into counts as shared; with a limit of `seconds`, only what is seen to share does.
        """
        reply = await self._ask("relate", names=sorted(names), seconds=seconds)
        return [frozenset(group) for group in reply["groups"]]

    async def show(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the value of each of `names` that is bound: a JSON scalar, or else its text."""
        reply = await self._ask("show", names=sorted(names))
        return dict(reply["values"])

    async def digest(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Return a digest of the value of each of `names`; default: all of the notebook's."""
        reply = await self._ask("digest", names=None if names is None else sorted(names))
        return dict(reply["digests"])

    async def fork(self, on_output: OnOutput | None = None) -> Kernel:
        """Return a copy of this kernel as it is now, with its own pipes. Raises ForkRefused."""
        adopt_orphans()
        ours, theirs = socket.socketpair()
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        handle, stacks = tempfile.mkstemp(prefix="jup2kub-stacks-")
        os.close(handle)
        token = secrets.token_hex(8)
        reply: Mapping[str, Any] = {}
        try:
            async with self._lock:
                fds = [theirs.fileno(), their_out, their_err]
                reply = await self._request("fork", {"token": token, "stacks": stacks}, fds)
        finally:
            theirs.close()
            os.close(their_out)
            os.close(their_err)
            if "pid" not in reply:
                ours.close()
                os.close(out)
                os.close(err)
                Path(stacks).unlink()
        if "pid" not in reply:
            raise ForkRefused(str(reply["refused"]))
        kernel = Kernel(
            Wire(ours, out, err, token), Process(reply["pid"]), on_output or self._on_output, stacks
        )
        kernel.info = {**self.info, "pid": reply["pid"], "mix": reply["mix"]}
        return kernel

    def interrupt(self) -> None:
        """Interrupt the running cell, as Ctrl-C does."""
        self._process.signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process and those it has started, at once."""
        self._closing = True
        self._process.signal(signal.SIGKILL)

    async def stacks(self, seconds: float = 2.0) -> str:
        """Return where every thread of the kernel is; empty if it does not tell within `seconds`."""
        start = Path(self._stacks).stat().st_size
        self._process.signal(STACKS_SIGNAL, group=False)
        before, waited = start, 0.0
        while waited < seconds and not self.dead.done():
            await asyncio.sleep(0.02)
            waited += 0.02
            size = Path(self._stacks).stat().st_size
            if size > start and size == before:
                break
            before = size
        with open(self._stacks, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return file.read()

    async def close(self, seconds: float = 5.0, *, over: bool = True) -> None:
        """End the kernel: ask it to leave, and kill it if it has not within `seconds`. Safe to call twice.

        `over`: its objects die with it. Not in a kernel that stood in for the main one: there they live on.
        """
        self._closing = True
        if not self.dead.done():
            self._wire.send({"id": 0, "do": "exit", "over": over}, quiet=True)
            try:
                await asyncio.wait_for(asyncio.shield(self.dead), seconds)
            except asyncio.TimeoutError:
                self.kill()
                await self.dead
        with contextlib.suppress(OSError):
            Path(self._stacks).unlink()

    async def _ask(self, do: str, **fields: Any) -> Mapping[str, Any]:
        async with self._lock:
            return await self._request(do, fields)

    async def _request(
        self, do: str, fields: Mapping[str, Any], fds: Iterable[int] = ()
    ) -> Mapping[str, Any]:
        if self.dead.done():
            raise KernelDied(self.dead.result())
        self._number += 1
        reply = self._wire.expect(self._number)
        self._wire.send({"id": self._number, "do": do, **fields}, fds=tuple(fds))
        return await self._answer(do, reply)

    async def _answer(self, do: str, reply: asyncio.Future[dict[str, Any]]) -> Mapping[str, Any]:
        await asyncio.wait((reply, self.dead), return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            reply.cancel()
            raise KernelDied(self.dead.result())
        found = reply.result()
        if not found["ok"]:
            raise RequestFailed(do, found["error"], found.get("trace", ""), found.get("errno"))
        if "mark" in found and not await self._wire.reached(found["mark"], self.dead):
            raise KernelDied(self.dead.result())
        return found

    def _event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "cores":
            granted = self.cores(event["wanted"])
            if event["wanted"]:
                self._wire.send({"cores": granted})
            return
        if event["event"] == "loop":
            self.loops(event)
            return
        content = event["content"]
        self._messages.append((event["mark"], event["type"], content))
        output = output_of(event["type"], content)
        if output is not None:
            self._live(output)

    def _text(self, name: str, text: str) -> None:
        self._live({"output_type": "stream", "name": name, "text": text})

    def _live(self, output: Output) -> None:
        if self._on_output is not None and self._cell is not None and not self._silent:
            self._on_output(self._cell, output)

    def _ended(self) -> None:
        if not self.dead.done():
            code, signal_name, reason = self._process.fate()
            hungry = signal_name == "SIGKILL" and not self._closing and memory.kills() > self._kills
            self.dead.set_result(
                KernelDeath(
                    self.pid,
                    "memory ran out, and the system killed it" if hungry else reason,
                    signal_name,
                    code,
                    self._cell,
                    self._closing,
                    hungry,
                )
            )


def _does_not_start(
    launch: Launch, died: KernelDied, said: dict[str, list[tuple[int, str]]]
) -> EnvironmentProblem:
    lines = "".join(text for _, text in said["stderr"]).strip().splitlines() or [died.death.reason]
    return EnvironmentProblem(
        "J2K402",
        f"the kernel {launch.name or launch.python!r} does not start: {lines[-1]}",
        f"it needs Python >= 3.9 with ipykernel >= 6: try `{launch.python} -m pip install ipykernel`",
    )


def _result(request: RunCell, reply: Mapping[str, Any], found: CellOutputs) -> CellResult:
    known = ("id", "ok", "mark", "status", "error", "facts", "seconds", "seeded", "leaving")
    return CellResult(
        cell=request.cell,
        status=reply["status"],
        outputs=tuple(found.outputs),
        updates=tuple(found.updates),
        error=reply.get("error"),
        facts=from_json(Facts, reply.get("facts") or {}),
        seconds=reply.get("seconds", 0.0),
        seeded=frozenset(reply.get("seeded", ())),
        leaving=bool(reply.get("leaving")),
        extra={key: value for key, value in reply.items() if key not in known},
    )
