"""A server of S3 in this process (moto's), on a free port, and ways to make it fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from jup2kub.store.awskeys import Keys
from jup2kub.store.bucket import Bucket

KEYS = Keys("AKIATEST", "secret")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Quiet(WSGIRequestHandler):
    """Keeps connections, says nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_: object) -> None:
        """Nothing."""


class S3:
    """moto looks whether a name is free and then writes, which is not one step; S3's is. So one request at a time."""

    def __init__(self) -> None:
        self._moto: Application = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self.before: Callable[[dict[str, Any]], str] = lambda environ: ""
        """What shall become of a request: "" it is answered, `lose` it is done and the answer lost, `refuse` 503,
        `lack` 501, `deaf` its condition is not heeded."""
        self.seen: list[tuple[str, str]] = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            fate = self.before(environ)
            if fate in ("refuse", "lack"):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start(
                    "503 Slow Down" if fate == "refuse" else "501 Not Implemented", [("Content-Length", "0")]
                )
                return [b""]
            if fate == "deaf":
                environ.pop("HTTP_IF_NONE_MATCH", None)
            answer = list(self._moto(environ, start))
        if fate == "lose":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        return answer

    def bucket(self, prefix: str, patience: float = 10.0) -> Bucket:
        """Return a prefix of the bucket `runs`."""
        return Bucket(f"s3://runs/{prefix}", lambda: KEYS, endpoint=self.url, patience=patience)

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def served() -> Iterator[S3]:
    """Serve an empty bucket `runs`."""
    server = S3()
    try:
        made = Bucket("s3://runs", lambda: KEYS, endpoint=server.url)._send("PUT", None)
        assert made.status == 200, made
        yield server
    finally:
        server.close()
