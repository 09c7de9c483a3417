"""HTTP for the run server: a thread for each connection, a token for each request, an answer for each request number."""

from __future__ import annotations

import hmac
import http.server
import json
import re
import socketserver
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jup2kub.engine.server.storeapi import StoreApi
from jup2kub.errors import Jup2KubError, StoreProblem
from jup2kub.store import Missing
from jup2kub.store.link import EPOCH, REQUEST, TOKEN, telling

ANSWERS = 4096
"""Answers that are kept, to be given again to a request that comes twice."""
BIG = 64 << 20
"""Most bytes of one request."""
TICKING = 15.0
"""Seconds without a tick of the loop after which the server is not healthy."""
FULL = "J2K503"
MORE_ROOM = (
    "it is on the volume behind the run server: ask for a larger one (`--storage class:NAME,size=50Gi`), or let the "
    "cluster's administrator enlarge it; `jup2kub resume RUN` then goes on from what is kept"
)
RANGE = re.compile(r"bytes=(\d+)-(\d+)")
Reply = tuple[int, bytes, Mapping[str, str]]
Route = Callable[[Mapping[str, Any]], Any]


class Site:
    """What is served: routes that take and give JSON, and the store."""

    def __init__(self, api: StoreApi, token: str, epoch: int = 1) -> None:
        self.api, self.token, self.epoch = api, token, epoch
        self.routes: dict[str, Route] = {}
        """By path after `/v1/`; what answers a POST."""
        self.ready: Callable[[], bool] = lambda: True
        self.ticked = time.monotonic()
        """When the loop was last seen at work."""
        self.fenced = threading.Event()
        """Set when a later server has taken over: this one answers no more."""
        self._answers: OrderedDict[str, Reply] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, number: str) -> Reply | None:
        """Return the answer that the request of this number was given before."""
        with self._lock:
            return self._answers.get(number)

    def remember(self, number: str, reply: Reply) -> None:
        """Keep an answer for a while."""
        if number and len(reply[1]) < 1 << 16:
            with self._lock:
                self._answers[number] = reply
                while len(self._answers) > ANSWERS:
                    self._answers.popitem(last=False)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Answer a POST. Raises Jup2KubError."""
        if path.startswith("store/"):
            return self.api.call(path[len("store/") :], body)
        if path.startswith("blobs/"):
            return {"have": self.api.have(path[len("blobs/") :], body["size"])}
        if path not in self.routes:
            raise StoreProblem("J2K522", f"the run server knows no request {path!r}")
        return self.routes[path](body)


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 600

    @property
    def site(self) -> Site:
        """What is served."""
        return self.server.site

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path in ("/healthz", "/readiness"):
            alive = time.monotonic() - self.site.ticked < TICKING and not self.site.fenced.is_set()
            good = alive and (parts.path == "/healthz" or self.site.ready())
            self._reply((200 if good else 503, b"ok\n" if good else b"no\n", {}))
            return
        self._guarded(lambda: _blob(self.site, parts.path, parts.query, self.headers.get("Range", "")))

    def do_PUT(self) -> None:
        data = self._body()
        parts = urlsplit(self.path)
        self._guarded(lambda: _piece(self.site, parts.path, parts.query, data))

    def do_POST(self) -> None:
        data = self._body()
        self._guarded(lambda: _json(self.site.post(urlsplit(self.path).path[len("/v1/") :], _parsed(data))))

    def _body(self) -> bytes:
        size = int(self.headers.get("Content-Length", "0"))
        if size > BIG:
            self.close_connection = True
            return b""
        return self.rfile.read(size)

    def _guarded(self, act: Callable[[], Reply]) -> None:
        if not hmac.compare_digest(self.headers.get(TOKEN, "").encode(), self.site.token.encode()):
            self._reply((403, b'{"error": "the token is missing or wrong"}', {}))
            return
        if int(self.headers.get(EPOCH, "0")) > self.site.epoch:
            self.site.fenced.set()
        if self.site.fenced.is_set():
            self._reply((503, b"", {}))
            return
        # What else is asked may be asked twice without harm.
        exclusive = self.command == "POST" and self.path.startswith("/v1/store/")
        number = self.headers.get(REQUEST, "") if exclusive else ""
        reply = self.site.remembered(number)
        if reply is None:
            reply = answered(act)
            self.site.remember(number, reply)
        self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        status, body, headers = reply
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header(EPOCH, str(self.site.epoch))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass


def answered(act: Callable[[], Reply]) -> Reply:
    """Return what `act` replies, or the error that it raises as a reply."""
    try:
        return act()
    except Missing as problem:
        return 404, json.dumps(telling(problem)).encode(), {}
    except Jup2KubError as problem:
        return 409, json.dumps(telling(elsewhere(problem))).encode(), {}
    except (KeyError, ValueError, TypeError) as problem:
        text = f"{type(problem).__name__}: {problem}"
        return 400, json.dumps(telling(StoreProblem("J2K522", text))).encode(), {}


def elsewhere(problem: Jup2KubError) -> Jup2KubError:
    """Return an error of the store with a way out for those who do not sit before its disk."""
    if problem.code == FULL:
        return StoreProblem(FULL, problem.message, MORE_ROOM)
    return problem


def _json(value: Any) -> Reply:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _parsed(data: bytes) -> Mapping[str, Any]:
    found = json.loads(data or b"{}")
    if not isinstance(found, dict):
        raise ValueError("a JSON object is wanted")
    return found


def _blob(site: Site, path: str, query: str, wanted: str) -> Reply:
    sha256 = path.rpartition("/")[2]
    size = int(parse_qs(query)["size"][0])
    match = RANGE.fullmatch(wanted)
    first, last = (int(match[1]), int(match[2])) if match else (0, max(0, size - 1))
    data = site.api.get(sha256, size, first, last)
    whole = first == 0 and len(data) == size
    span = {} if whole else {"Content-Range": f"bytes {first}-{first + len(data) - 1}/{size}"}
    return (200 if whole else 206), data, {"Content-Type": "application/octet-stream", **span}


def _piece(site: Site, path: str, query: str, data: bytes) -> Reply:
    asked = parse_qs(query)
    size, offset = int(asked["size"][0]), int(asked["offset"][0])
    have = site.api.put(path.rpartition("/")[2], size, offset, data)
    return 200, b"{}", {"X-J2K-Have": str(have)}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Listens until `close`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, site: Site, host: str = "127.0.0.1", port: int = 0) -> None:
        self.site = site
        super().__init__((host, port), Handler)
        self.url = f"http://{host}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)

    def begin(self) -> Server:
        """Serve from now on, in a thread."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop listening; answers under way may be cut."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is the client's matter: it asks again."""
