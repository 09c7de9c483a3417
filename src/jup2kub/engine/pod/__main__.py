"""The process of an agent: `python -m jup2kub.engine.pod --server URL …`; the token comes in J2K_TOKEN."""

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
from pathlib import Path

from jup2kub.agent import memory
from jup2kub.engine.pod.agent import Agent, Capacity
from jup2kub.errors import Jup2KubError
from jup2kub.store.link import Direct, Link


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; each option's default is an environment variable."""
    parser = argparse.ArgumentParser(prog="jup2kub-agent")
    environ = os.environ
    parser.add_argument("--server", default=environ.get("J2K_SERVER"), required="J2K_SERVER" not in environ)
    parser.add_argument("--image", default=environ.get("J2K_IMAGE_CLASS", ""))
    parser.add_argument("--cpu", type=float, default=float(environ.get("J2K_CPU", "1")))
    parser.add_argument("--memory", type=int, default=int(environ.get("J2K_MEMORY", "0")))
    parser.add_argument("--gpu", type=int, default=int(environ.get("J2K_GPU", "0")))
    parser.add_argument("--idle", type=float, default=float(environ.get("J2K_IDLE_SECONDS", "0")))
    parser.add_argument("--patience", type=float, default=float(environ.get("J2K_PATIENCE_SECONDS", "600")))
    parser.add_argument("--project", type=Path, default=environ.get("J2K_PROJECT"))
    parser.add_argument("--cache", type=Path, default=environ.get("J2K_CACHE"))
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run one agent; return 0 when it left in good order, 1 when its server was away for too long."""
    wanted = options(arguments)
    pod = os.environ.get("J2K_POD") or socket.gethostname()
    about = {"pod": pod, "node": os.environ.get("J2K_NODE", ""), "pid": os.getpid()}
    capacity = Capacity(
        f"{pod}.{secrets.token_hex(3)}",
        wanted.image,
        wanted.cpu,
        wanted.memory or memory.available(),
        wanted.gpu,
        wanted.idle,
        about,
    )
    stop = threading.Event()
    link = Link(Direct(wanted.server), os.environ["J2K_TOKEN"], patience=wanted.patience, stop=stop)
    with tempfile.TemporaryDirectory(prefix="jup2kub-agent-") as folder:
        agent = Agent(link, capacity, wanted.cache or Path(folder), os.environ, wanted.project)

        async def work() -> None:
            running = asyncio.ensure_future(agent.run())
            loop = asyncio.get_running_loop()

            def leave() -> None:
                stop.set()
                running.cancel()

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, leave)
            await running

        try:
            asyncio.run(work())
        except asyncio.CancelledError:
            return 0
        except Jup2KubError as problem:
            sys.stderr.write(f"error: {problem}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
