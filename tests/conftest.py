"""What holds for all tests."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell, tests would hand this on to the programs that they interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
