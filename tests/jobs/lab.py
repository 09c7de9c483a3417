"""A run server and agents as processes of this machine, each agent in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from jup2kub.agent.session import Told
from jup2kub.agent.wire import descendants
from jup2kub.away import Away, execute
from jup2kub.compose import Execution, Settings
from jup2kub.store.link import Direct, Link
from jup2kub.store.remote import RemoteStore

TOKEN = "secret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Lab:
    """`folder`: everything lies below it. Use in a `with` statement."""

    folder: Path
    name: str = "run-1"
    silence: float = 3.0
    """Seconds without a heartbeat after which a task is offered again."""
    place: tuple[str, ...] = ()
    """Options that say where the server keeps its store; empty = in a folder here."""
    keys: dict[str, str] = field(default_factory=dict)
    """Environment of the server alone."""
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def __enter__(self) -> Lab:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.serve()
        self.transport = Direct(self.url)
        self.link = Link(self.transport, TOKEN, patience=180.0)
        self.store = RemoteStore(self.link, self.folder / "here")
        self.away = Away(self.link, self.store)
        self._news = threading.Condition()
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.stop.set()
        for process in (*self.agents, self.server):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in (*self.agents, self.server):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pool.shutdown()
        self.transport.close()

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "JUP2KUB_TOKEN": TOKEN, "PYTHONHASHSEED": "0"}

    def serve(self) -> None:
        """Start the run server."""
        words = [*(self.place or ("--store", str(self.folder / "store"))), "--run", self.name]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--silence", str(self.silence)]
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115
        command = [sys.executable, "-m", "jup2kub.pod", "server", *words]
        self.server = subprocess.Popen(command, env={**self._environ(), **self.keys}, stderr=log)
        log.close()

    def hire(self, count: int = 1, **more: str) -> None:
        """Start agents."""
        for _ in range(count):
            number = len(self.agents)
            words = ["--server", self.url, "--project", str(self.folder / f"pod-{number}" / "project")]
            words += ["--cpu", "1", "--cache", str(self.folder / f"pod-{number}" / "cache")]
            environ = {**self._environ(), "JUP2KUB_POD": f"pod-{number}", **more}
            log = open(self.folder / f"agent-{number}.log", "ab")  # noqa: SIM115
            command = [sys.executable, "-m", "jup2kub.pod", "agent", *words]
            self.agents.append(subprocess.Popen(command, env=environ, stderr=log, stdout=log))
            log.close()

    def begin(self, settings: Settings) -> Future[Execution]:
        """Run a notebook in a thread."""
        return self._pool.submit(self.run, settings)

    def wait_for(self, kind: str, cell: int, times: int = 1, seconds: float = 180.0) -> Told:
        """Wait until something was told of a cell so often."""
        with self._news:
            found: list[Told] = []

            def there() -> bool:
                found[:] = [t for t in self.told if (t.kind, t.cell) == (kind, cell)]
                return len(found) >= times

            assert self._news.wait_for(there, seconds), f"no {kind} of cell {cell}: {self.told}"
            return found[-1]

    def _tell(self, told: Told) -> None:
        with self._news:
            self.told.append(told)
            self._news.notify_all()

    def agent_of(self, task: str) -> int:
        """Return the number of the agent that has the task under way."""
        tasks = {t["task"]: t for t in self.link.ask("/v1/status", {})["tasks"]}
        return int(tasks[task]["attempts"][-1]["worker"].split(".")[0].split("-")[1])

    def kill(self, number: int) -> None:
        """Kill an agent and all that it has started, as the loss of its machine would."""
        process = self.agents[number]
        family = [process.pid, *descendants(process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def run(self, settings: Settings) -> Execution:
        """Run a notebook; its files come back to where it lies."""
        undo = self.folder / "replaced"
        undo.mkdir(exist_ok=True)
        return execute(settings, self._tell, self.away, self.name, undo)
