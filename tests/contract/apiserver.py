"""A small API server over the fake cluster, so that both HTTP transports are tested without a cluster."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event
from wsproto.utilities import LocalProtocolError

from jup2kub.cluster import KINDS, Answer, ClusterProblem, Right
from jup2kub.cluster.memory import MemoryCluster

PATH = re.compile(
    r"/(?:api|apis)/(?P<api>v1|[^/]+/v[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|proxy|portforward)(?P<rest>/.*)?)?$"
)


class Handler(BaseHTTPRequestHandler):
    """One request of the API, answered by `server.cluster`."""

    protocol_version = "HTTP/1.1"
    cluster: MemoryCluster

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        try:
            self.answer(body)
        except ClusterProblem as problem:
            text = {
                "kind": "Status",
                "apiVersion": "v1",
                "reason": problem.reason,
                "message": problem.message,
            }
            self.send(problem.status, json.dumps(text, separators=(",", ":")).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = do

    def answer(self, body: bytes) -> None:
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if url.path == "/version":
            return self.json({"major": "1", "minor": "35+"})
        if url.path.endswith("/selfsubjectaccessreviews"):
            return self.review(json.loads(body))
        found = PATH.fullmatch(url.path)
        assert found, url.path
        kind = next(k for k in KINDS.values() if k.plural == found["plural"] and k.api == found["api"])
        name = unquote(found["name"] or "")
        if found["sub"] == "log":
            tail = int(query["tailLines"]) if "tailLines" in query else None
            return self.send(200, b"".join(line + b"\n" for line in self.cluster.logs(name, tail=tail)))
        if found["sub"] == "portforward":
            return self.forward(name, int(query["ports"]))
        if found["sub"] == "proxy":
            return self.proxy(name, (found["rest"] or "/") + (f"?{url.query}" if url.query else ""), body)
        return self.verb(kind.name, name, query, body)

    def verb(self, kind: str, name: str, query: dict[str, str], body: bytes) -> None:
        data, dry = (json.loads(body) if body else {}), query.get("dryRun") == "All"
        if self.command == "GET" and "watch" in query:
            return self.watch(kind, query)
        if self.command == "GET" and name:
            return self.json(self.cluster.get(kind, name))
        if self.command == "GET":
            listing = self.cluster.list(kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in listing.items]
            return self.json({"items": items, "metadata": {"resourceVersion": listing.version}})
        if self.command == "POST":
            return self.json(self.cluster.create(data, dry_run=dry), 201)
        if self.command == "PATCH" and "apply" in self.headers["Content-Type"]:
            return self.json(self.cluster.apply(data, dry_run=dry))
        if self.command == "PATCH":
            uid = data["metadata"].pop("uid")
            try:
                return self.json(self.cluster.patch(kind, name, data, uid=uid))
            except ClusterProblem as problem:
                if problem.status == 409:  # as the real one has it
                    return self.send(422, b'{"kind":"Status","message":"metadata.uid: field is immutable"}')
                raise
        uid = data["preconditions"]["uid"]
        self.cluster.delete(kind, name, uid=uid, grace=data.get("gracePeriodSeconds"))
        return self.json({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def watch(self, kind: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        changes = self.cluster.watch(
            kind,
            query.get("labelSelector", ""),
            query.get("resourceVersion", ""),
            float(query["timeoutSeconds"]),
        )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for change in changes:
                self.wfile.write(json.dumps({"type": change.type, "object": change.object}).encode() + b"\n")
                self.wfile.flush()
        self.close_connection = True

    def review(self, review: Any) -> None:
        asked = review["spec"]["resourceAttributes"]
        kind = next(
            k for k in KINDS.values() if k.plural == asked["resource"] and k.group == asked.get("group", "")
        )
        right = Right(asked["verb"], kind.name, asked.get("subresource", ""))
        self.json({"status": {"allowed": self.cluster.may(right)}}, 201)

    def forward(self, pod: str, port: int) -> None:
        """Forward a port as the kubelet does it over WebSockets (`v4.channel.k8s.io`)."""
        there = self.cluster.dial(pod, port)
        key = self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        for name, value in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key).digest()).decode(),
            "Sec-WebSocket-Protocol": self.headers["Sec-WebSocket-Protocol"],
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        line, lock = Connection(ConnectionType.SERVER), threading.Lock()

        def say(event: Event) -> None:
            with lock, contextlib.suppress(OSError, LocalProtocolError):
                self.connection.sendall(line.send(event))

        def back() -> None:
            for channel in (0, 1):
                say(BytesMessage(data=bytes([channel]) + port.to_bytes(2, "little")))
            with contextlib.suppress(OSError):
                while data := there.recv(1 << 15):
                    say(BytesMessage(data=b"\0" + data))
            say(CloseConnection(code=1000))

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        with contextlib.suppress(OSError), there:
            # The channel's byte comes with the first piece of a message only.
            fresh = True
            while data := self.connection.recv(1 << 16):
                line.receive_data(data)
                for event in line.events():
                    if isinstance(event, CloseConnection):
                        there.shutdown(socket.SHUT_RDWR)
                    elif isinstance(event, BytesMessage):
                        there.sendall(bytes(event.data)[1 if fresh else 0 :])
                        fresh = event.message_finished
        thread.join(5)

    def proxy(self, name: str, path: str, body: bytes) -> None:
        service, _, port = name.partition(":")
        sent = {k: v for k, v in self.headers.items() if k.lower() != "authorization"}
        answer = self.cluster.proxy(service, port, path, method=self.command, body=body, headers=sent)
        self.send(answer.status, answer.body, answer.headers)

    def json(self, value: Any, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode())

    def send(self, status: int, body: bytes, headers: Any = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(cluster: MemoryCluster) -> Iterator[int]:
    """Serve the fake over HTTP; yields the port."""
    handler = type("Bound", (Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def echo(method: str, path: str, body: bytes, headers: Any) -> Answer:
    """A service that tells what it was asked."""
    names = {k.lower(): v for k, v in headers.items()}
    if path.startswith("/missing"):
        return Answer(404, {}, b"no such page")
    told = {"method": method, "path": path, "body": body.decode(), "token": names.get("x-j2k-token", "")}
    return Answer(
        200, {"x-kind": "echo"}, json.dumps({**told, "authorization": "authorization" in names}).encode()
    )
