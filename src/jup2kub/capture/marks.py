"""Runs in the user's kernel, beside a tracer: an audit hook that hears what no tracer of files sees.

Executed as text with `LOG` (a path) in its namespace; Python >= 3.9 and the standard library only. Writes a line of JSON
per event: `["connect", host, port]`, `["rename", from, to]`, `["remove", path]`, `["open", path, writes]`,
`["run", program]`. Forked processes inherit the hook and the file; those started anew do not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Say = Callable[..., None]
Text = Callable[[Any], str]

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def listen(log: str) -> None:
    """Install the hook."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    busy = [False]

    def say(*what: Any) -> None:
        os.write(handle, (json.dumps(what) + "\n").encode("utf-8", "surrogatepass"))

    def text(path: Any) -> str:
        return os.path.abspath(os.fsdecode(path))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if busy[0] or event not in HANDLERS:
            return
        busy[0] = True
        try:
            HANDLERS[event](say, text, args)
        except (TypeError, ValueError, OSError, RecursionError, IndexError):
            pass
        finally:
            busy[0] = False

    sys.addaudithook(hook)


def on_connect(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note an address; local sockets have none."""
    address = args[1]
    if isinstance(address, tuple):
        say("connect", str(address[0]), int(address[1]))


def on_lookup(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note a name that is looked up."""
    if args[0]:
        name = args[0].decode() if isinstance(args[0], bytes) else str(args[0])
        say("connect", name, int(args[1]) if str(args[1] or "").isdigit() else 0)


def on_rename(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note both names."""
    say("rename", text(args[0]), text(args[1]))


def on_remove(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note what is gone."""
    say("remove", text(args[0]))


def on_open(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note a file by name; descriptors were opened before."""
    path, mode, flags = args
    if isinstance(path, (str, bytes, os.PathLike)):
        writes = any(c in (mode or "") for c in "wax+") or bool((flags or 0) & WRITES)
        say("open", text(path), writes)


def on_run(say: Say, text: Text, args: tuple[Any, ...]) -> None:
    """Note a program that is started."""
    say("run", os.fsdecode(args[0]) if args and args[0] is not None else "")


HANDLERS = {
    "socket.connect": on_connect,
    "socket.getaddrinfo": on_lookup,
    "os.rename": on_rename,
    "os.remove": on_remove,
    "open": on_open,
    "subprocess.Popen": on_run,
    "os.posix_spawn": on_run,
    "os.system": on_run,
}

listen(globals()["LOG"])
