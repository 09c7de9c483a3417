"""Starts the process of a kernel and greets it. Light on purpose: this is the first thing a run does."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from jup2kub.agent.launch import CONNECTION_FILE, Launch
from jup2kub.errors import EnvironmentProblem

CHILD = Path(__file__).parent.parent / "kernel"
"""The folder that runs in the user's interpreter."""
HELLO = 1
"""Number of the first request."""


class Spawned:
    """A kernel's process on its way, with the agent's ends of its channels. Somebody takes it, or abandons it."""

    def __init__(self, launch: Launch, names_of: int | None = None) -> None:
        """Start the process and send the first request. Raises EnvironmentProblem (J2K402).

        `names_of`: pid of the main kernel, whose file names of cells this one shall use; None = its own.
        """
        if not launch.is_ipython:
            raise EnvironmentProblem("J2K402", f"the kernel {launch.name!r} is not an IPython one")
        self.launch = launch
        self.token = secrets.token_hex(8)
        """What marks this kernel's places in its output."""
        self.control, theirs = socket.socketpair()
        self.out, their_out = os.pipe()
        self.err, their_err = os.pipe()
        handle, self.stacks = tempfile.mkstemp(prefix="jup2kub-stacks-")
        os.close(handle)
        self._taken = False
        fake = f"{tempfile.gettempdir()}/kernel-{secrets.token_hex(8)}.json"
        arguments = [a.replace(CONNECTION_FILE, fake) for a in launch.arguments]
        try:
            self.process = subprocess.Popen(
                [*launch.argv, str(CHILD), str(theirs.fileno()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=their_out,
                stderr=their_err,
                pass_fds=(theirs.fileno(),),
                cwd=launch.cwd,
                env=dict(launch.env),
                start_new_session=True,
            )
        except OSError as error:
            self._close()
            raise EnvironmentProblem(
                "J2K402",
                f"the kernel {launch.name or launch.python!r} does not start: {error}",
                "its environment has been moved or removed: make its kernelspec anew "
                "(`python -m ipykernel install --user`), or choose another with --kernel NAME",
            ) from error
        finally:
            theirs.close()
            os.close(their_out)
            os.close(their_err)
        hello = {"id": HELLO, "do": "hello", "token": self.token, "stacks": self.stacks, "names_of": names_of}
        body = json.dumps(hello).encode()
        with contextlib.suppress(OSError):  # one that is gone already is noticed by who takes it
            self.control.sendall(struct.pack(">I", len(body)) + body)

    def take(self) -> None:
        """Make channels and process the caller's own concern. Raises RuntimeError the second time."""
        if self._taken:
            raise RuntimeError("this kernel is somebody else's")
        self._taken = True

    def abandon(self) -> None:
        """End what nobody has taken. Safe to call twice, and after it was taken."""
        if not self._taken:
            self._taken = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._close()

    def _close(self) -> None:
        self.control.close()
        os.close(self.out)
        os.close(self.err)
        Path(self.stacks).unlink()


def peek(path: Path) -> str:
    """Return the kernel that a notebook names, from a quick look; empty if the look tells nothing."""
    try:
        metadata = json.loads(path.read_bytes())["metadata"]
        return str(metadata.get("kernelspec", {}).get("name", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
