"""Bytes, descriptors and processes beneath `agent.kernel`: pipes drained all the time, deaths noticed at once."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Callable

from jup2kub.agent.outputs import MarkedText

LENGTH = struct.Struct(">I")
CHUNK = 1 << 18
PR_SET_CHILD_SUBREAPER = 36
REAP_SECONDS = 2.0
"""How long a process whose pipes have ended may take to be gone."""


class Wire:
    """Control socket and output pipes of one kernel. Owns the descriptors; call inside a running loop."""

    def __init__(self, sock: socket.socket, out: int, err: int, token: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fds = {"stdout": out, "stderr": err}
        self._texts = {name: MarkedText(token, self._teller(name)) for name in self._fds}
        self._received = bytearray()
        self._unsent = bytearray()
        self._expected: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._over = False
        self.on_event: Callable[[Mapping[str, Any]], None] = lambda event: None
        self.on_text: Callable[[str, str], None] = lambda name, text: None
        self.on_end: Callable[[], None] = lambda: None
        self.on_hangup: Callable[[], None] = self.end
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._read_control)
        for name, fd in self._fds.items():
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._read_pipe, name)

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self.on_text(name, text)

    def expect(self, number: int) -> asyncio.Future[dict[str, Any]]:
        """Return the future reply to request `number`."""
        self._expected[number] = self._loop.create_future()
        return self._expected[number]

    def send(self, message: Mapping[str, Any], fds: tuple[int, ...] = (), quiet: bool = False) -> None:
        """Send a message, and descriptors with its first byte. A kernel that is gone is noticed elsewhere."""
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        data = LENGTH.pack(len(body)) + body
        if self._over:
            return
        if fds:
            # Requests go one at a time, so nothing is unsent and these few bytes fit.
            with contextlib.suppress(OSError):
                sent = socket.send_fds(self._sock, [data], list(fds))
                data = data[sent:]
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError:
            self._unsent.clear()
        if not self._over:
            self._loop.remove_writer(self._sock.fileno())

    async def reached(self, mark: int, dead: asyncio.Future[Any]) -> bool:
        """Wait until both pipes have brought marker `mark`; False if the kernel died first."""
        if self._reached() >= mark:
            return True
        future: asyncio.Future[bool] = self._loop.create_future()
        self._waiting.append((mark, future))
        await asyncio.wait((future, dead), return_when=asyncio.FIRST_COMPLETED)
        return future.done() or self._reached() >= mark

    def _reached(self) -> int:
        return min(text.reached for text in self._texts.values())

    def take(self) -> dict[str, list[tuple[int, str]]]:
        """Return and forget the text so far, by stream: (number of the marker that follows, text)."""
        found = {name: text.take() for name, text in self._texts.items()}
        if self._over:
            for name, text in self._texts.items():
                found[name].append((text.reached + 1, text.tail()))
        return found

    def _read_control(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._sock.fileno())
            self.on_hangup()
            return
        self._received += data
        while len(self._received) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._received)
            if len(self._received) < LENGTH.size + size:
                break
            body = bytes(self._received[LENGTH.size : LENGTH.size + size])
            del self._received[: LENGTH.size + size]
            self._message(json.loads(body.decode("utf-8", "replace")))

    def _message(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self.on_event(message)
            return
        future = self._expected.pop(message["id"], None)
        if future is not None and not future.done():
            future.set_result(message)

    def _read_pipe(self, name: str, much: bool = False) -> None:
        fd = self._fds[name]
        while True:
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(fd)
                break
            self._texts[name].feed(data)
            if not much:
                break
        self._wake()

    def _wake(self) -> None:
        reached = self._reached()
        for mark, future in self._waiting:
            if mark <= reached and not future.done():
                future.set_result(True)
        self._waiting = [(mark, future) for mark, future in self._waiting if not future.done()]

    def end(self) -> None:
        """The kernel is gone: read what is left, close everything, tell `on_end`."""
        if self._over:
            return
        with contextlib.suppress(OSError):
            self._loop.remove_reader(self._sock.fileno())
            while True:
                data = self._sock.recv(CHUNK)
                if not data:
                    break
                self._received += data
        for name, fd in self._fds.items():
            self._read_pipe(name, much=True)
            self._loop.remove_reader(fd)
            os.close(fd)
        self._over = True
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self.on_end()


class Process:
    """A kernel process: a child of the agent (`popen`), or a fork of one, which the agent inherits."""

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._popen = popen
        self._status: int | None = None
        self._gone = False
        self._watched = -1
        self._on_death: Callable[[], None] = lambda: None
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._watched = os.pidfd_open(pid)

    def watch(self, on_death: Callable[[], None]) -> None:
        """Call `on_death` when the process ends, where the system can tell."""
        self._on_death = on_death
        if self._watched >= 0:
            asyncio.get_running_loop().add_reader(self._watched, self._died)

    def _died(self) -> None:
        if not self._gone:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._on_death()

    def hung_up(self) -> None:
        """The process has closed its socket: it is ending, or it is of no use and is made to."""
        if self._watched < 0:
            self._on_death()
        elif not self._gone:
            asyncio.get_running_loop().call_later(REAP_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self._gone:
            self.signal(signal.SIGKILL)
            self._died()

    def signal(self, number: int, group: bool = True) -> None:
        """Send a signal to the process, or with `group` to all of its process group."""
        if self._gone:
            return
        started = descendants(self.pid) if group and number == signal.SIGKILL else ()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        for pid in started:
            # Those in a group of their own, which the cell's code has started.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def fate(self) -> tuple[int | None, str, str]:
        """Reap the process. Returns exit code, name of the signal, and both in words."""
        self._reap()
        self._gone = True
        if self._watched >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1
        status = self._status
        if status is None:
            return None, "", "it ended; how is not known"
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            return None, name, f"killed by {name}"
        return status, "", f"it left with exit code {status}"

    def _reap(self) -> None:
        try:
            if self._popen is not None:
                self._status = self._popen.wait(REAP_SECONDS)
                return
            found, status = os.waitpid(self.pid, 0 if self._ended() else os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if found else None
        except (subprocess.TimeoutExpired, ChildProcessError, ValueError):
            self._status = None

    def _ended(self) -> bool:
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
        except OSError:
            return True


def descendants(pid: int) -> list[int]:
    """Return the processes that the process has started, and those that they have. Linux only, else none."""
    found: list[int] = []
    todo = [pid]
    while todo:
        folder = f"/proc/{todo.pop()}/task"
        with contextlib.suppress(OSError):
            for thread in os.listdir(folder):
                with open(f"{folder}/{thread}/children", "rb") as file:
                    mine = [int(word) for word in file.read().split()]
                found += mine
                todo += mine
    return found


def adopt_orphans() -> bool:
    """Let forks of kernels become children of this process, so that it learns how they end. Linux only."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    return False
