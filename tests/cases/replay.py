"""Runs cells of a case in forked IPython shells; a process of its own, spoken to by lines of JSON.

Request: {"runs": [[cells to run, in order], …], "cells": [sources], "files": {path: text}}. Reply: for every run the list
of what each of its cells did: {"stdout", "error", "changed": {name: digest or None if gone}, "files": {path: digest}}.
Every run happens in a fork and a new folder. This script imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

MODULES = (
    "numpy",
    "pandas",
    "matplotlib.pyplot",
    "sklearn.linear_model",
    "sqlite3",
    "asyncio",
    "logging.config",
)
DEPTH = 12
DUMPS = json.dumps  # cases may replace the one in the module


def describe(value: Any, seen: dict[int, tuple[int, Any]], depth: int = 0) -> Any:
    """Return a text-able account of a value that has no addresses in it; sharing shows as back references.

    `seen`: number and object by address; it keeps what is made on the way alive, lest an address serve twice.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, type(Ellipsis))):
        return f"{type(value).__name__}:{value!r}"
    if id(value) in seen:
        return f"ref:{seen[id(value)][0]}"
    if depth > DEPTH:
        return f"deep:{type(value).__qualname__}"
    seen[id(value)] = (len(seen), value)
    inner = lambda v: describe(v, seen, depth + 1)  # noqa: E731
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, types.ModuleType):
        return f"module:{value.__name__}"
    if isinstance(value, types.FunctionType):
        cells = [_cell(c) for c in value.__closure__ or ()]
        code = hashlib.sha1(value.__code__.co_code).hexdigest()
        return [
            "function",
            value.__qualname__,
            code,
            inner(value.__defaults__),
            [inner(c) for c in cells],
            inner(value.__dict__),
        ]
    if isinstance(value, types.MethodType):
        return ["method", value.__func__.__qualname__, inner(value.__self__)]
    if isinstance(value, (types.GeneratorType, types.CoroutineType)):
        frame = getattr(value, "gi_frame", None)
        return ["generator", value.__qualname__, frame.f_lasti if frame else None]
    if isinstance(value, type):
        if value.__module__ != "__main__":
            return f"class:{kind}:{value.__module__}.{value.__qualname__}"
        body = {
            k: v
            for k, v in vars(value).items()
            if k not in ("__dict__", "__weakref__", "__doc__", "_abc_impl")
        }
        return ["class", value.__qualname__, inner(body)]
    if isinstance(value, dict):
        state = [inner(vars(value))] if hasattr(value, "__dict__") else []
        return [kind, [[inner(k), inner(v)] for k, v in value.items()], *state]
    if isinstance(value, (list, tuple)):
        return [kind, [inner(v) for v in value]]
    if isinstance(value, (set, frozenset)):
        return [kind, sorted(DUMPS(describe(v, dict(seen), depth + 1)) for v in value)]
    return [kind, *_object(value, inner)]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _object(value: Any, inner: Any) -> list[Any]:
    top = type(value).__module__.partition(".")[0]
    if top == "numpy" and hasattr(value, "tobytes"):
        content = value.tolist() if value.dtype == object else hashlib.sha1(value.tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), inner(content)]
    if top == "numpy" and type(value).__name__ in ("Generator", "RandomState"):
        state = value.bit_generator.state if type(value).__name__ == "Generator" else value.get_state()
        return [inner(state)]
    if top == "pandas":
        return [
            repr(value) if not hasattr(value, "to_csv") else value.to_csv(),
            repr(getattr(value, "dtypes", "")),
        ]
    if top == "matplotlib":
        return []
    if isinstance(value, io.StringIO):
        return ["closed"] if value.closed else [value.tell(), value.getvalue()]
    if isinstance(value, io.IOBase):
        return ["closed"] if value.closed else [value.tell() if value.seekable() else None]
    state = getattr(value, "__dict__", None)
    reduced = _reduced(value) if state is None else None
    text = re.sub(
        r"0x[0-9a-f]+", "0x", object.__repr__(value) if type(value).__module__ == "__main__" else repr(value)
    )
    return [text if state is None and reduced is None else "", inner(state), inner(reduced)]


def _reduced(value: Any) -> Any:
    try:
        return value.__reduce_ex__(4)[1:]
    except Exception:
        return None


def digest(value: Any) -> str:
    """Return a short digest of what `describe` tells."""
    return hashlib.sha1(DUMPS(describe(value, {}), default=str).encode()).hexdigest()


def names(shell: Any) -> dict[str, str]:
    """Return the digest of every global of the notebook by name."""
    hidden = set(shell.user_ns_hidden) | {"In", "Out", "exit", "quit", "get_ipython", "open"}
    own = {
        k: v
        for k, v in shell.user_ns.items()
        if k not in hidden
        and not re.fullmatch(r"_|__|___|_i*|_\d+|_i\d+|_dh|_oh|_ih|_exit_code|__warningregistry__", k)
    }
    return {k: digest(v) for k, v in own.items()}


def folder_digests() -> dict[str, str]:
    """Return the digest of every file in the case's folder by relative path; databases and byte code by name only."""
    root = Path(os.environ["CASE_FOLDER"])
    return {
        str(p.relative_to(root)): hashlib.sha1(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
        and "__pycache__" not in p.parts
        and p.suffix not in (".db", ".png", ".gz", ".pkl", ".zip")
    }


def play(shell: Any, sources: list[str], cells: list[int]) -> list[dict[str, Any]]:
    """Run the cells; return what each did."""
    capture = tempfile.TemporaryFile()  # noqa: SIM115 - open for the life of the fork
    os.dup2(capture.fileno(), 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    done = []
    before, files = names(shell), folder_digests()
    for index in cells:
        start = capture.seek(0, os.SEEK_END)
        shell.execution_count = index + 1
        result = shell.run_cell(sources[index], store_history=True)
        sys.stdout.flush()
        _close_figures()
        capture.seek(start)
        error = result.error_before_exec or result.error_in_exec
        text = capture.read().decode(errors="replace")
        after, now = names(shell), folder_digests()
        done.append(
            {
                "cell": index,
                "stdout": "" if error else text,
                "error": f"{type(error).__name__}: {error}" if error else None,
                "changed": {
                    k: after.get(k) for k in before.keys() | after.keys() if before.get(k) != after.get(k)
                },
                "names": after,
                "files": {k: now.get(k) for k in files.keys() | now.keys() if files.get(k) != now.get(k)},
            }
        )
        before, files = after, now
    return done


def _close_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:  # as the kernel's default backend does after every cell
        sys.modules["matplotlib.pyplot"].close("all")


def in_fork(shell: Any, request: dict[str, Any], cells: list[int]) -> Any:
    """Fork, run the cells in a new folder, return what they did, or {"crash": text}."""
    folder = tempfile.mkdtemp(prefix="case-")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.environ["CASE_FOLDER"] = folder
            for name, text in request["files"].items():
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(text)
            answer: Any = play(shell, request["cells"], cells)
        except BaseException:
            answer = {"crash": traceback.format_exc()}
        text = re.sub(r"0x[0-9a-f]{6,}", "0x", DUMPS(answer).replace(folder, "<folder>"))
        with os.fdopen(write, "w") as out:
            out.write(text)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as source:
        text = source.read()
    os.waitpid(pid, 0)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return json.loads(text)
    except ValueError:
        return {"crash": f"the forked shell died; it left {text[:200]!r}"}


def main() -> None:
    """Serve requests from standard input until it ends."""
    for name in MODULES:
        __import__(name)
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    sys.argv = ["case"]
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    shell = InteractiveShell.instance(config=config, user_module=module)
    shell.enable_gui = lambda gui=None: None
    sys.path.insert(0, "")
    replies = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    requests = os.fdopen(os.dup(0), "r")
    os.dup2(null, 0)
    for line in requests:
        request = json.loads(line)
        replies.write(DUMPS([in_fork(shell, request, run) for run in request["runs"]]) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
