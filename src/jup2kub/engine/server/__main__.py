"""The process of a run server."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Union

from jup2kub.cluster import incluster
from jup2kub.cluster.capacity import JobCapacity
from jup2kub.engine.budgets import Config
from jup2kub.engine.pod.settings import token
from jup2kub.engine.server.hall import Hall
from jup2kub.engine.server.steward import Steward
from jup2kub.engine.server.web import Server
from jup2kub.errors import Jup2KubError, UsageError
from jup2kub.kit.canon import from_json
from jup2kub.manifests.spec import RunSpec
from jup2kub.store.awskeys import Source
from jup2kub.store.bucket import Bucket
from jup2kub.store.files import FileStore
from jup2kub.store.s3 import S3Store


def options(arguments: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="jup2kub-server")
    parser.add_argument("--store", required=True, help="a folder, or s3://BUCKET/PREFIX")
    parser.add_argument("--cache", type=Path, help="folder for values of a bucket")
    parser.add_argument("--cache-bytes", type=int)
    parser.add_argument("--region", default=environ.get("AWS_REGION", "us-east-1"))
    parser.add_argument("--endpoint", default=environ.get("AWS_ENDPOINT_URL_S3", ""))
    parser.add_argument("--run", default=environ.get("JUP2KUB_RUN", ""))
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--silence", type=float, default=Config.silence_seconds)
    return parser.parse_args(arguments)


def opened(wanted: argparse.Namespace, environ: Mapping[str, str]) -> Union[FileStore, S3Store]:
    """Open the store that the command line names. Raises StoreProblem; UsageError for a bucket without `--cache`."""
    if not wanted.store.startswith("s3://"):
        return FileStore(Path(wanted.store))
    if wanted.cache is None:
        raise UsageError("J2K715", "a store in a bucket needs a local folder", "--cache DIR")
    keys = Source(environ, wanted.region)
    bucket = Bucket(wanted.store, keys, region=wanted.region, endpoint=wanted.endpoint)
    return S3Store(bucket, wanted.cache, cache_bytes=wanted.cache_bytes)


def steward(hall: Hall, spec: RunSpec, stop: threading.Event) -> None:
    """Look after capacity in a thread, as soon as there is a job."""
    capacity = JobCapacity(incluster.connect(), spec, lambda: secrets.token_hex(4))

    def ask(request: str, body: Mapping[str, Any]) -> Any:
        return hall.site.routes[request](body)

    def begin(_: object) -> None:
        threading.Thread(target=Steward(ask, capacity, spec).serve, args=(stop,), daemon=True).start()

    hall.watchers.append(begin)


def config_of(spec: Union[RunSpec, None], silence: float) -> Config:
    """Return how tasks are tried again. `silence`: seconds without a heartbeat."""
    if spec is None:
        return Config(silence_seconds=silence)
    most = replace(spec.base, memory=spec.max_memory).usable_memory
    return Config(strict=True, silence_seconds=silence, max_memory=most)


def main(arguments: list[str]) -> int:
    """Serve one run until told to end; 1 when the store cannot be used."""
    wanted = options(arguments, os.environ)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with opened(wanted, os.environ) as store:
            spec = from_json(RunSpec, json.loads(wanted.spec.read_text())) if wanted.spec else None
            hall = Hall(
                store,
                token(os.environ),
                wanted.run,
                config_of(spec, wanted.silence),
            )
            if spec is not None and spec.jobs_by == "server":
                steward(hall, spec, stop)
            if wanted.run:
                hall.resume()
            server = Server(hall.site, wanted.host, wanted.port).begin()
            sys.stderr.write(f"run server {server.url}\n")
            sys.stderr.flush()
            hall.serve(stop)
            server.close()
    except Jup2KubError as problem:
        # One line: the last one is what a cluster keeps of a container's words.
        sys.stderr.write(f"error: {problem}{f' ({problem.hint})' if problem.hint else ''}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
