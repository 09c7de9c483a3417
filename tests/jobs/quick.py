"""A run server and agents as threads of this process: as `lab`, without processes that start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from jup2kub.away import Away, execute
from jup2kub.compose import Execution, Settings
from jup2kub.engine.budgets import Config
from jup2kub.engine.pod.agent import Agent, Capacity
from jup2kub.engine.server.hall import Hall
from jup2kub.engine.server.web import Server
from jup2kub.store.files import FileStore
from jup2kub.store.link import Direct, Link
from jup2kub.store.remote import RemoteStore

TOKEN = "secret"


@contextlib.contextmanager
def agent(url: str, folder: Path, number: int, cpu: float = 1.0) -> Iterator[Agent]:
    """One agent at work."""
    transport, stop = Direct(url), threading.Event()
    link = Link(transport, TOKEN, patience=20.0, stop=stop)
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    mine = folder / f"pod-{number}"
    made = Agent(link, Capacity(f"pod-{number}.0", cpu=cpu), mine / "cache", environ, mine / "project")
    thread = threading.Thread(target=lambda: asyncio.run(made.run()))
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(30)
        transport.close()


def run(settings: Settings, folder: Path, agents: int = 2, config: Config | None = None) -> Execution:
    """Run a notebook by a server and agents; everything of theirs lies in `folder`, but the store."""
    assert settings.store is not None
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(FileStore(settings.store, durable=False))
        hall = Hall(store, TOKEN, "run", config)
        server = Server(hall.site).begin()
        stack.callback(server.close)
        stop = threading.Event()
        loop = threading.Thread(target=hall.serve, args=(stop,))
        loop.start()
        stack.callback(loop.join)
        stack.callback(stop.set)
        transport = Direct(server.url)
        stack.callback(transport.close)
        link = Link(transport, TOKEN, patience=20.0)
        for number in range(agents):
            stack.enter_context(agent(server.url, folder, number))
        away = Away(link, RemoteStore(link, folder / "here"))
        return execute(settings, lambda told: None, away, "run", folder)
