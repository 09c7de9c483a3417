"""Messages between agent and kernel child: four bytes of length (big-endian), then UTF-8 JSON."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from typing import Any

LENGTH = struct.Struct(">I")
MAX_FDS = 8


class Channel:
    """The child's end of the control socket. `sock` blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Wait for the next request. Returns it with the file descriptors that came along; None at the end."""
        head, fds = self._read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (size,) = LENGTH.unpack(head)
        body, more = self._read(size)
        if len(body) < size:
            return None
        return json.loads(body.decode("utf-8")), fds + more

    def _read(self, size: int) -> tuple[bytes, list[int]]:
        got = bytearray()
        fds: list[int] = []
        space = socket.CMSG_SPACE(MAX_FDS * 4)
        while len(got) < size:
            data, extra, _, _ = self.sock.recvmsg(min(size - len(got), 1 << 20), space)
            for level, kind, payload in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                    fds.extend(numbers)
            if not data:
                break
            got += data
        for fd in fds:
            os.set_inheritable(fd, False)
        return bytes(got), fds

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        self.send_bytes(json.dumps(message, ensure_ascii=False).encode("utf-8", "backslashreplace"))

    def send_bytes(self, body: bytes) -> None:
        """Send one message that is already JSON."""
        self.sock.sendall(LENGTH.pack(len(body)) + body)
