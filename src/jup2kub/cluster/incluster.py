"""The API server as a pod sees it: the service account's token and certificate, and the standard library's HTTP.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/. Python >= 3.9, standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Tuple

from jup2kub.cluster import Answer, Unreachable
from jup2kub.cluster.rest import CODES, Request, RestCluster

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PIECE = 1 << 16
KEPT = 4
"""Connections that may be idle."""


def present(environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> bool:
    """Return whether this process runs in a pod that may speak to the API server."""
    return "KUBERNETES_SERVICE_HOST" in environ and (account / "token").is_file()


def connect(
    namespace: str = "", environ: Mapping[str, str] = os.environ, account: Path = ACCOUNT
) -> RestCluster:
    """Return the cluster this pod runs in. Raises Unreachable without a service account."""
    if not present(environ, account):
        raise Unreachable(
            "J2K701", "there is no service account here", "run this in a pod, or use a kubeconfig"
        )
    context = ssl.create_default_context(cafile=str(account / "ca.crt"))
    transport = PlainTransport(
        environ["KUBERNETES_SERVICE_HOST"],
        int(environ.get("KUBERNETES_SERVICE_PORT_HTTPS") or environ.get("KUBERNETES_SERVICE_PORT", "443")),
        context,
        account / "token",
    )
    return RestCluster(transport, namespace or (account / "namespace").read_text().strip())


class PlainTransport:
    """HTTP by the standard library; kept connections for what is safe to repeat, a new one for all else."""

    def __init__(
        self, host: str, port: int, context: Optional[ssl.SSLContext], token: Optional[Path]
    ) -> None:
        """`context`: None = plain HTTP. `token`: read again for every request, for the kubelet renews it."""
        self._host, self._port, self._context, self._token = host, port, context, token
        self._idle: List[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def send(self, request: Request) -> Answer:
        """Return the whole answer; what is safe to repeat is sent again if a kept connection was closed meanwhile."""
        with self._lock:
            kept = self._idle.pop() if self._idle and request.method in ("GET", "HEAD") else None
        if kept is not None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._ask(kept, request)
            kept.close()
        fresh = self._open(request.timeout)
        try:
            return self._ask(fresh, request)
        except (OSError, http.client.HTTPException) as error:
            fresh.close()
            raise _unreachable(request, error) from error

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[PlainStream]:
        """Return the answer while it comes."""
        connection = self._open(request.timeout)
        try:
            try:
                self._write(connection, request)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise _unreachable(request, error) from error
            yield PlainStream(answer, request)
        finally:
            connection.close()

    def dial(self, request: Request, address: Tuple[str, int]) -> socket.socket:
        """Connect to the pod itself. Raises Unreachable."""
        try:
            return socket.create_connection(address, timeout=request.timeout)
        except OSError as error:
            raise _unreachable(request, error) from error

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)

    def _ask(self, connection: http.client.HTTPConnection, request: Request) -> Answer:
        if connection.sock is not None:
            connection.sock.settimeout(request.timeout)
        self._write(connection, request)
        answer = connection.getresponse()
        found = Answer(answer.status, _headers(answer), answer.read())
        with self._lock:
            if len(self._idle) < KEPT and not answer.will_close:
                self._idle.append(connection)
                return found
        connection.close()
        return found

    def _write(self, connection: http.client.HTTPConnection, request: Request) -> None:
        headers = {"Accept": "application/json, */*", "User-Agent": "jup2kub", **request.headers}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
        connection.request(request.method, request.path, body=request.body, headers=headers)


class PlainStream:
    """An answer that is read as it comes."""

    def __init__(self, answer: http.client.HTTPResponse, request: Request) -> None:
        self._answer, self._request = answer, request
        self.status = answer.status
        self.headers = _headers(answer)

    def pieces(self) -> Iterator[bytes]:
        """Yield what comes. Raises Unreachable."""
        try:
            while True:
                piece = self._answer.read1(PIECE)
                if not piece:
                    return
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._request, error) from error


def _headers(answer: http.client.HTTPResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _unreachable(request: Request, error: Exception) -> Unreachable:
    code, hint = CODES[Unreachable]
    why = (
        "it did not answer in time"
        if isinstance(error, (socket.timeout, TimeoutError))
        else str(error) or repr(error)
    )
    return Unreachable(
        code, f"{request.method} {request.path.partition('?')[0]}: no answer from the cluster: {why}", hint
    )
