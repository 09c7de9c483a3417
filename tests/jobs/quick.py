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
from jup2kub.engine.pod.agent import Capacity, serve
from jup2kub.engine.server.hall import Hall
from jup2kub.engine.server.web import Server
from jup2kub.store.files import FileStore
from jup2kub.store.link import Direct, Link
from jup2kub.store.remote import RemoteStore

TOKEN = "secret"


@contextlib.contextmanager
def agent(url: str, folder: Path, number: int, cpu: float = 1.0) -> Iterator[None]:
    """One agent at work."""
    transport, stop = Direct(url), threading.Event()
    link = Link(transport, TOKEN, patience=20.0, stop=stop)
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    mine = folder / f"pod-{number}"

    offer = Capacity(f"pod-{number}", cpu=cpu, about={"pod": f"pod-{number}"})

    def work() -> None:
        asyncio.run(serve(link, offer, mine / "cache", environ, mine / "project"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        transport.close()


@contextlib.contextmanager
def lab(store: Path, folder: Path, agents: int = 2, config: Config | None = None) -> Iterator[Away]:
    """Give the line to a server with agents; everything of theirs lies in `folder`, but the store."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(FileStore(store, durable=False))
        hall = Hall(kept, TOKEN, "run", config)
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
        yield Away(link, RemoteStore(link, folder / "here"))


def run(settings: Settings, folder: Path, agents: int = 2) -> Execution:
    """Run a notebook by a server and agents."""
    assert settings.store is not None
    with lab(settings.store, folder, agents) as away:
        return execute(settings, lambda told: None, away, "run", folder)
