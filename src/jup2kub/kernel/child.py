"""The kernel child: one request, one reply, over a socket; see the protocol in the project's architecture page."""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import platform
import signal
import socket
import sys
import traceback
from typing import Any, Callable

from ipykernel._version import __version__ as ipykernel_version

from .shell import Shell
from .stream import Marks, Stream
from .wire import Channel

STACKS_SIGNAL = (signal.SIGRTMAX - 2) if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
"""On this signal the child appends the stacks of all its threads to its stacks file."""

Request = dict[str, Any]
Reply = dict[str, Any]


class Child:
    """Serves requests until the agent hangs up. Single-threaded."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.cell = -1
        self.stacks: Any = None
        self.marks: Marks
        self.shell: Shell

    def start(self, hello: Request, argv: list[str]) -> Reply:
        """Set up streams and shell as the first request says, and answer it."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self.marks = Marks(hello["token"], {"stdout": os.dup(1), "stderr": os.dup(2)})
        self.dump_stacks_to(hello.get("stacks"))
        sys.stdout = Stream("stdout", 1, self.marks)
        sys.stderr = Stream("stderr", 2, self.marks)
        self.shell = Shell(argv, self.publish)
        os.register_at_fork(before=self.flush, after_in_child=self._forked)
        return {
            "python": platform.python_version(),
            "ipykernel": ipykernel_version,
            "pid": os.getpid(),
            "xxh3": importlib.util.find_spec("xxhash") is not None,
            "mark": self.mark(),
        }

    def dump_stacks_to(self, path: str | None) -> None:
        """Let the stacks signal append to the file at `path` from now on; None = leave it."""
        if path:
            self.stacks = open(path, "ab", buffering=0)  # noqa: SIM115 - open for life
            faulthandler.register(STACKS_SIGNAL, file=self.stacks, all_threads=True)

    def _forked(self) -> None:
        # In a process that the user's code has forked off: the agent must not hear two voices.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Stream):
                stream.discard()

    def flush(self) -> None:
        """Send what the streams hold."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError, OSError):
                continue

    def mark(self) -> int:
        """Flush both streams and mark the place in both pipes."""
        with self.marks.lock:
            self.flush()
            self.marks.last = None
            return self.marks.mark()

    def publish(self, kind: str, content: Any, session: Any) -> None:
        """Send an output message of the running cell, with its place among the text."""
        if not self.marks.mine:
            return
        packed = session.pack(content)
        with self.marks.lock:
            head = {"event": "output", "cell": self.cell, "mark": self.mark(), "type": kind}
            self.channel.send_bytes(json.dumps(head)[:-1].encode() + b', "content": ' + packed + b"}")

    def serve(self) -> None:
        """Answer requests until `exit`, the end of the socket, or the notebook's own ``exit()``."""
        while True:
            self.shell.idle_until_readable(self.channel.sock.fileno())
            got = self.channel.receive()
            if got is None or got[0]["do"] == "exit":
                return
            request, fds = got
            handler: Callable[[Request, list[int]], Reply] = getattr(self, "do_" + request["do"])
            try:
                reply = {"id": request["id"], "ok": True, **handler(request, fds)}
            except Exception as error:
                reply = {
                    "id": request["id"],
                    "ok": False,
                    "error": f"{type(error).__name__}: {error}",
                    "trace": traceback.format_exc(),
                }
            self.channel.send(reply)
            if self.shell.ip.exit_now:
                return

    def do_run(self, request: Request, fds: list[int]) -> Reply:
        """Run a cell. Replies `status`, `error` and `facts`."""
        self.cell = request["cell"]
        outcome = self.shell.run(request["source"], request["count"])
        error = None
        if outcome["status"] != "ok":
            error = {key: outcome.get(key) for key in ("ename", "evalue", "traceback")}
        return {"status": outcome["status"], "error": error, "facts": {}, "mark": self.mark()}


def main(fd: int, argv: list[str]) -> None:
    """Serve the agent at the other end of socket `fd`; `argv`: arguments for ipykernel."""
    os.set_inheritable(fd, False)
    channel = Channel(socket.socket(fileno=fd))
    got = channel.receive()
    if got is None:
        return
    child = Child(channel)
    channel.send({"id": got[0]["id"], "ok": True, **child.start(got[0], argv)})
    child.serve()
