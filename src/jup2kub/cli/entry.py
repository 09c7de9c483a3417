"""Where `jup2kub` begins and ends: with nothing loaded yet, so that Ctrl-C is heard from the first moment on.

Loading the program takes a quarter of a second. An interrupt that comes while modules are half made may turn up
anywhere, as any error; so until the command line is ready a signal simply ends the process.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is a tenth of what is loaded before the kernel starts
    from types import FrameType
    from typing import Any, NoReturn

INTERRUPTED = 130
"""As `errors.EXIT_INTERRUPTED`, which would have to be loaded first."""
UNWRITTEN = 120
"""Exit code when stdout cannot be written at the very end; Python's own."""


class Beginning:
    """What has been started so far, for whoever interrupts before the command line takes over."""

    def __init__(self) -> None:
        self.kernel: Any = None
        """`agent.spawn.Spawned`; None = there is none yet."""
        self._starting = self._asked = False

    def hear(self) -> None:
        """End this process on the signals that ask for it, unless whoever started it wants them ignored."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._end)

    def hand_over(self) -> None:
        """Let signals be what they are in any Python program; called where KeyboardInterrupt is caught."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == self._end:
                usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, usual)

    def start(self, words: list[str]) -> None:
        """Start the kernel that the command line will want, if that is clear. See `cli.ahead`."""
        importlib.import_module(
            "jup2kub.cli.streams"
        ).mend()  # else a pipe of the kernel's takes a closed one's place
        ahead = importlib.import_module("jup2kub.cli.ahead")
        self._starting = True  # a process without a name could not be ended
        self.kernel = ahead.begin(words)
        self._starting = False
        if self._asked:
            self._end()

    def _end(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        if self._starting:
            self._asked = True
            return
        if self.kernel is not None:
            self.kernel.abandon()
        try:
            os.write(2, b"interrupted\n")
        finally:
            os._exit(INTERRUPTED)


def leave(code: int) -> NoReturn:
    """End this process as Python does, without taking every module apart, which takes as long as loading them.

    A profiler or debugger that waits for the end gets it in the usual way.
    """
    if sys.getprofile() is not None or sys.gettrace() is not None:
        sys.exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    importlib.import_module("atexit")._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            pass
        except (OSError, ValueError):
            code = code or UNWRITTEN
    os._exit(code)


def main() -> NoReturn:
    """Run the command line of this process, and end it."""
    beginning = Beginning()
    beginning.hear()
    if sys.argv[1:2] == ["run"]:
        beginning.start(sys.argv[1:])
    program = importlib.import_module("jup2kub.cli.main")
    try:
        code = program.main(beginning=beginning)
    except KeyboardInterrupt:  # everything is done, and only the end is left
        code = INTERRUPTED
    leave(code)
