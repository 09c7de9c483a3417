"""The process of an agent."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from jup2kub.engine.pod.agent import Capacity, serve
from jup2kub.engine.pod.settings import cores, memory_limit, token
from jup2kub.errors import Jup2KubError
from jup2kub.store.link import Direct, Link


def options(arguments: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="jup2kub-agent")
    parser.add_argument("--server", required=True)
    parser.add_argument("--class", dest="image", default="")
    parser.add_argument("--cpu", type=float, default=0.0)
    parser.add_argument("--memory", type=int, default=0)
    parser.add_argument("--gpu", type=int, default=int(environ.get("JUP2KUB_GPU", "0")))
    parser.add_argument("--idle", type=float, default=60.0)
    parser.add_argument("--patience", type=float, default=600.0)
    parser.add_argument("--project", type=Path, default=environ.get("JUP2KUB_PROJECT"))
    parser.add_argument("--cache", type=Path)
    return parser.parse_args(arguments)


def capacity(wanted: argparse.Namespace, environ: Mapping[str, str]) -> Capacity:
    """Return what this process offers."""
    pod = environ.get("JUP2KUB_POD") or socket.gethostname()
    about = {"pod": pod, "node": environ.get("JUP2KUB_NODE", ""), "pid": os.getpid()}
    return Capacity(
        f"{pod}.{secrets.token_hex(3)}",
        wanted.image,
        wanted.cpu or max(1.0, cores()),
        wanted.memory or memory_limit(),
        wanted.gpu,
        wanted.idle,
        about,
    )


def main(arguments: list[str]) -> int:
    """Run one agent; 0 when it left in good order, 1 when its server was away for too long."""
    wanted = options(arguments, os.environ)
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="jup2kub-agent-") as folder:
        try:
            link = Link(Direct(wanted.server), token(os.environ), patience=wanted.patience, stop=stop)
            asyncio.run(_work(wanted, link, wanted.cache or Path(folder), stop))
        except asyncio.CancelledError:
            return 0
        except Jup2KubError as problem:
            sys.stderr.write(f"error: {problem}\n")
            return 1
    return 0


async def _work(wanted: argparse.Namespace, link: Link, cache: Path, stop: threading.Event) -> None:
    offer = capacity(wanted, os.environ)
    running = asyncio.ensure_future(serve(link, offer, cache, os.environ, wanted.project))

    def leave() -> None:
        stop.set()
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave)
    await running


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
