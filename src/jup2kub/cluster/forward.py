"""A connection to a port of a pod through the API server: a port-forward over a WebSocket, as a socket of this process.

Subprotocol `v4.channel.k8s.io` of the kubelet: binary messages whose first byte names a channel, 0 for the port's bytes
and 1 for an error in words; the first message of each channel is the port's number (two bytes).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

from httpx2 import HTTPError
from httpx2.websockets import HTTPXWSException, WebSocketSession

log = logging.getLogger(__name__)
PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1
PIECE = 1 << 16
"""Bytes of one message."""
MOST = 1 << 20
"""Bytes of a message that is taken."""
BROKEN = (HTTPXWSException, HTTPError, OSError)


def joined(session: WebSocketSession, close: Callable[[], None]) -> socket.socket:
    """Return a socket whose bytes go through the session; `close` ends it, and is called when the socket was closed."""
    near, far = socket.socketpair()
    for act in (lambda: _out(far, session, close), lambda: _in(session, far)):
        threading.Thread(target=act, name="port-forward", daemon=True).start()
    return near


def _out(far: socket.socket, session: WebSocketSession, close: Callable[[], None]) -> None:
    try:
        while piece := far.recv(PIECE):
            session.send_bytes(bytes([DATA]) + piece)
    except BROKEN as problem:
        log.debug("port-forward: %r", problem)
    finally:
        far.close()
        close()


def _in(session: WebSocketSession, far: socket.socket) -> None:
    numbered: set[int] = set()
    try:
        while True:
            message = session.receive_bytes()
            channel, data = message[0], message[1:]
            if channel not in numbered:
                numbered.add(channel)
                data = data[2:]
            if channel == DATA:
                far.sendall(data)
            elif data:
                log.warning("port-forward: %s", data.decode(errors="replace"))
                break
    except BROKEN as problem:
        log.debug("port-forward: %r", problem)
    try:
        far.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The other thread has closed it.
