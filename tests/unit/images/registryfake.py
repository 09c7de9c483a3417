"""A registry in memory, over real HTTP: tokens, mounts, pieces, and lines that break where a test says so."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Registry:
    """What it holds, and how it behaves."""

    auth: str = ""
    """`basic`, `bearer`; empty = open."""
    breaks: list[int] = field(default_factory=list)
    """Numbers of PATCH requests, from 1, whose line breaks after half of the bytes has arrived."""
    busy: int = 0
    """Requests that are answered with 503 first."""
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By repository and digest."""
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    received: int = 0
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Distribution-spec 1.1, as much as a push and a pull need."""

    registry: Registry
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        size = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(size)
        self.registry.received += len(data)
        return data

    def allowed(self, path: str) -> bool:
        said = self.headers.get("Authorization", "")
        if not self.registry.auth or path == "/token":
            return True
        if self.registry.auth == "basic":
            good, challenge = said == "Basic YW5uOnB3", 'Basic realm="r"'
        else:
            scope = f"repository:{re.findall(r'/v2/(.*?)/(?:blobs|manifests)', path)[0]}:pull,push"
            good = said == "Bearer good"
            challenge = f'Bearer realm="{self.registry.address}/token",service="s",scope="{scope}"'
        if not good:
            self.body()
            self.answer(401, b"{}", WWW_Authenticate=challenge)
        return good

    def handle_any(self) -> None:
        registry, url = self.registry, urlsplit(self.path)
        registry.log.append(f"{self.command} {self.path}")
        if registry.busy:
            registry.busy -= 1
            self.body()
            self.answer(503, Retry_After="0")
        elif self.allowed(url.path):
            {"/token": self.token}.get(url.path, self.serve)()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

    def token(self) -> None:
        good = self.headers.get("Authorization") == "Basic YW5uOnB3"
        self.answer(200 if good else 401, json.dumps({"token": "good"} if good else {}).encode())

    def serve(self) -> None:
        url = urlsplit(self.path)
        repository, kind, rest = re.fullmatch(
            r"/v2/(.*)/(blobs/uploads|blobs|manifests)/(.*)", url.path
        ).groups()  # type: ignore[union-attr]
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        {"blobs/uploads": self.upload, "blobs": self.blob, "manifests": self.manifest}[kind](
            repository, rest, query
        )

    def blob(self, repository: str, digest: str, query: dict[str, str]) -> None:
        data = self.registry.blobs.get((repository, digest))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if data is None:
            self.answer(404, b'{"errors": [{"code": "BLOB_UNKNOWN", "message": "no"}]}')
        else:
            self.answer(206 if start else 200, data[start:])

    def upload(self, repository: str, rest: str, query: dict[str, str]) -> None:
        registry = self.registry
        data = b"" if self.command == "PATCH" else self.body()
        if self.command == "POST":
            known = registry.blobs.get((query.get("from", ""), query.get("mount", "")))
            if known is not None:
                registry.blobs[repository, query["mount"]] = known
                self.answer(201)
                return
            name = str(len(registry.uploads))
            registry.uploads[name] = bytearray()
            self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{name}?state=x")
        elif self.command == "PATCH":
            self.patch(repository, rest)
        elif self.command == "GET":
            size = len(registry.uploads[rest])
            self.answer(
                204, Range=f"0-{max(size - 1, 0)}", Location=f"/v2/{repository}/blobs/uploads/{rest}?state=y"
            )
        else:
            whole = bytes(registry.uploads[rest]) + data
            good = f"sha256:{hashlib.sha256(whole).hexdigest()}" == query["digest"]
            if good:
                registry.blobs[repository, query["digest"]] = whole
            self.answer(201 if good else 400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "other"}]}')

    def patch(self, repository: str, rest: str) -> None:
        registry, held = self.registry, self.registry.uploads[rest]
        size = int(self.headers["Content-Length"])
        start = int(self.headers["Content-Range"].partition("-")[0])
        count = sum(line.startswith("PATCH") for line in registry.log)
        if start != len(held):
            self.body()
            self.answer(416)
        elif count in registry.breaks:
            data = self.rfile.read(size // 2)
            held += data
            registry.received += len(data)
            self.close_connection = True
            self.connection.close()
        else:
            held += self.body()
            self.answer(
                202, Location=f"/v2/{repository}/blobs/uploads/{rest}?state=z", Range=f"0-{len(held) - 1}"
            )

    def manifest(self, repository: str, tag: str, query: dict[str, str]) -> None:
        if self.command == "PUT":
            data = self.body()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.registry.manifests[repository, tag] = self.registry.manifests[repository, digest] = data
            self.answer(201, Docker_Content_Digest=digest)
            return
        found = self.registry.manifests.get((repository, tag))
        self.answer(
            200 if found else 404, found or b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "none"}]}'
        )


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Serve it on a free port of this machine."""
    handler = type("Bound", (Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
