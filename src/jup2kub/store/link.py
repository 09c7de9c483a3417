"""The line from an agent, or from the user's machine, to a run server: HTTP with patience.

A request that got no answer is sent again until the patience is over, so each carries a number by which the server
knows it again. Python >= 3.9 and the standard library only: pods carry it.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Callable, List, NamedTuple, Optional, Protocol
from urllib.parse import urlsplit

from jup2kub.errors import (
    CellFailed,
    EnvironmentProblem,
    Interrupted,
    Jup2KubError,
    StoreProblem,
    UsageError,
)

from . import Missing

TOKEN, REQUEST, EPOCH = "X-J2K-Token", "X-J2K-Request", "X-J2K-Epoch"
PATIENCE = 600.0
"""Seconds that a server may be away before a request is given up."""
CONNECT = 3.0
"""Seconds to connect: to an address whose pod is gone, packets may simply be lost."""
AWAY = frozenset({502, 503, 504})
"""Answers of a proxy whose server is away, or of a server that is not ready."""
FAMILIES = {
    cls.__name__: cls
    for cls in (
        Missing,
        StoreProblem,
        Interrupted,
        EnvironmentProblem,
        UsageError,
        CellFailed,
        Jup2KubError,
    )
}


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Transport(Protocol):
    """One request, one answer. Raises OSError or http.client.HTTPException when there is none."""

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        """Send it. `path` begins with a slash; `timeout` in seconds."""


class Direct:
    """To a server at a URL, on connections that stay open and are used again.

    `dial` makes one, in so many seconds, where that is not simply done; it raises OSError.
    """

    def __init__(self, url: str, dial: Optional[Callable[[float], socket.socket]] = None) -> None:
        self._dial = dial
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._prefix = parts.path.rstrip("/")
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Answer:
        """See `Transport`."""
        with self._lock:
            connection = (
                self._idle.pop() if self._idle else http.client.HTTPConnection(self._host, self._port)
            )
        try:
            if connection.sock is None and self._dial is not None:
                connection.sock = self._dial(timeout)
            elif connection.sock is None:
                connection.timeout = min(timeout, CONNECT)
                connection.connect()
                notice_death(connection)
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, self._prefix + path, body=body, headers=dict(headers))
            reply = connection.getresponse()
            data = reply.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle.append(connection)
        return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, data)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def notice_death(connection: http.client.HTTPConnection) -> None:
    """Let a connection fail soon after the machine at its other end is gone, also while nothing is sent (Linux)."""
    sock: socket.socket = connection.sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 3),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 10_000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Link:
    """Requests to one run server. Safe for threads."""

    def __init__(
        self,
        transport: Transport,
        token: str,
        *,
        patience: float = PATIENCE,
        stop: Optional[threading.Event] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._token = transport, token
        self.patience, self._clock = patience, clock
        self.stop = stop or threading.Event()
        """Set: give up whatever is being tried again."""
        self.epoch = 0
        """The highest server epoch seen: an answer of an older server is not believed."""

    def ask(self, path: str, body: Mapping[str, Any], *, wait: float = 0.0, patience: float = -1.0) -> Any:
        """Post JSON and return the JSON answered. `wait`: seconds that the server may take on purpose.

        Raises the error that the server tells, by its family, and StoreProblem (J2K520) when it is away for too long.
        """
        try:
            data = json.dumps(body).encode()
        except (TypeError, ValueError) as e:
            raise StoreProblem("J2K513", f"what is sent is not JSON: {e}") from e
        headers = {"Content-Type": "application/json"}
        answer = self.send("POST", path, data, headers, timeout=30.0 + wait, patience=patience)
        return json.loads(answer.body) if answer.body else None

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Optional[Mapping[str, str]] = None,
        *,
        timeout: float = 60.0,
        patience: float = -1.0,
    ) -> Answer:
        """Send one request until it is answered. Raises as `ask` does."""
        until = self._clock() + (self.patience if patience < 0 else patience)
        mine = {TOKEN: self._token, REQUEST: uuid.uuid4().hex, **(headers or {})}
        tries = 0
        while True:
            mine[EPOCH] = str(self.epoch)
            try:
                answer = self._transport.request(method, path, body, mine, timeout)
                if answer.status not in AWAY and self._current(answer):
                    return told(answer)
                reason = f"it answered {answer.status}"
            except (OSError, http.client.HTTPException) as problem:
                reason = str(problem) or type(problem).__name__
            tries += 1
            pause = min(2.0, 0.05 * 2**tries) * (0.5 + random.random() / 2)
            if self._clock() + pause >= until or self.stop.wait(pause):
                raise StoreProblem(
                    "J2K520",
                    f"the run server does not answer: {reason}",
                    "see its pod, and the network between; then run again: it continues",
                )

    def _current(self, answer: Answer) -> bool:
        epoch = int(answer.headers.get(EPOCH.lower(), "0"))
        if epoch < self.epoch:
            return False
        self.epoch = epoch
        return True


def told(answer: Answer) -> Answer:
    """Return a good answer; raise the error that another one tells."""
    if answer.status < 400:
        return answer
    try:
        error = json.loads(answer.body)["error"]
        family = FAMILIES.get(error["family"], StoreProblem)
        problem = family(error["code"], error["message"], error["hint"])
    except (ValueError, KeyError, TypeError):
        text = answer.body.decode(errors="replace")[:200]
        problem = StoreProblem("J2K522", f"the run server answered {answer.status}: {text}")
    raise problem


def telling(problem: Jup2KubError) -> dict[str, Any]:
    """Return the JSON by which a server tells an error."""
    family = next(c.__name__ for c in type(problem).__mro__ if c.__name__ in FAMILIES)
    return {
        "error": {
            "family": family,
            "code": problem.code,
            "message": problem.message,
            "hint": problem.hint,
        }
    }
