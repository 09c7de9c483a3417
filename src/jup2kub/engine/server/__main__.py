"""The process of a run server: `python -m jup2kub.engine.server --store DIR …`; the token comes in J2K_TOKEN."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from jup2kub.engine.server.hall import Hall
from jup2kub.engine.server.hire import hire, read_spec
from jup2kub.engine.server.web import Server
from jup2kub.errors import Jup2KubError
from jup2kub.store.files import FileStore


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line; each option's default is an environment variable."""
    parser = argparse.ArgumentParser(prog="jup2kub-server")
    environ = os.environ
    parser.add_argument(
        "--store", type=Path, default=environ.get("J2K_STORE"), required="J2K_STORE" not in environ
    )
    parser.add_argument("--run", default=environ.get("J2K_RUN", ""))
    parser.add_argument("--host", default=environ.get("J2K_HOST", "0.0.0.0"))
    parser.add_argument("--port", type=int, default=int(environ.get("J2K_PORT", "8080")))
    parser.add_argument(
        "--spec", type=Path, help="JSON of a RunSpec: this server keeps its agents' Jobs itself"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Serve one run until told to end; 1 when the store cannot be used."""
    wanted = options(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with FileStore(wanted.store) as store:
            hall = Hall(store, os.environ["J2K_TOKEN"], wanted.run)
            if wanted.run:
                hall.resume()
            bell = threading.Event()
            if wanted.spec is not None:
                hire(hall, read_spec(wanted.spec), stop, bell)
            server = Server(hall.site, wanted.host, wanted.port).begin()
            sys.stderr.write(f"run server {server.url}\n")
            sys.stderr.flush()
            hall.serve(stop)
            bell.set()
            server.close()
    except Jup2KubError as problem:
        sys.stderr.write(f"error: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
