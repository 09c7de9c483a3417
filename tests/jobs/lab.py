"""A run server and agents as processes of this machine, each agent in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

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
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def __enter__(self) -> Lab:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.serve()
        self.transport = Direct(self.url)
        self.link = Link(self.transport, TOKEN, patience=60.0)
        self.store = RemoteStore(self.link, self.folder / "here")
        self.away = Away(self.link, self.store)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()
        for process in (*self.agents, self.server):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (*self.agents, self.server):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "JUP2KUB_TOKEN": TOKEN, "PYTHONHASHSEED": "0"}

    def serve(self) -> None:
        """Start the run server."""
        words = ["--store", str(self.folder / "store"), "--run", self.name]
        words += ["--host", "127.0.0.1", "--port", str(self.port)]
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115
        command = [sys.executable, "-m", "jup2kub.pod", "server", *words]
        self.server = subprocess.Popen(command, env=self._environ(), stderr=log)
        log.close()

    def hire(self, count: int = 1, **more: str) -> None:
        """Start agents."""
        for _ in range(count):
            number = len(self.agents)
            words = ["--server", self.url, "--project", str(self.folder / f"pod-{number}" / "project")]
            words += ["--cache", str(self.folder / f"pod-{number}" / "cache")]
            environ = {**self._environ(), "JUP2KUB_POD": f"pod-{number}", **more}
            log = open(self.folder / f"agent-{number}.log", "ab")  # noqa: SIM115
            command = [sys.executable, "-m", "jup2kub.pod", "agent", *words]
            self.agents.append(subprocess.Popen(command, env=environ, stderr=log, stdout=log))
            log.close()

    def run(self, settings: Settings) -> Execution:
        """Run a notebook; its files come back to where it lies."""
        undo = self.folder / "replaced"
        undo.mkdir(exist_ok=True)
        return execute(settings, self.told.append, self.away, self.name, undo)
