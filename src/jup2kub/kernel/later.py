"""Leaves for later what ipykernel imports for its sockets and its debugger only: a third of a kernel's start.

Cells see what they would see in Jupyter. Whatever those imports put where a cell finds it without an import of its own
(submodules of packages, builtins, `breakpoint`, an environment variable) is there, and is loaded when it is used.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import os
import sys
import types
from typing import Any, Callable

SUBMODULES = {
    "importlib": ("abc", "metadata"),
    "email": (
        *("_encoded_words", "encoders", "errors", "feedparser", "header", "iterators", "message", "parser"),
        "utils",
    ),
    "encodings": ("ascii", "idna", "latin_1"),
    "http": ("client", "server"),
    "tornado": ("gen", "locks", "queues"),
    "xml": ("parsers",),
    "xml.parsers": ("expat",),
    "xmlrpc": ("client", "server"),
}
"""What a cell reaches as an attribute although it has imported the package only."""
BUILTINS = ("execfile", "runfile")
"""What the debugger adds to the builtins."""
QUIET = "PYDEVD_DISABLE_FILE_VALIDATION"
"""While this is set the debugger does not print what is of no use in a notebook."""
UNSEEN = frozenset({"__warningregistry__", "__wrapped__"})
"""Asked of every module there is, by those who look for something else."""


def prepare() -> None:
    """Postpone what can be. To be called before anything of ipykernel is imported."""
    _postpone_client()
    for name, children in SUBMODULES.items():
        if importlib.util.find_spec(name) is not None:
            package = importlib.import_module(name)
            if any(child not in vars(package) for child in children):
                _postpone(package, functools.partial(_import_all, package, children))
    if importlib.util.find_spec("debugpy") is not None:
        _postpone_debugger()


def _postpone(package: types.ModuleType, load: Callable[[], None]) -> None:
    """Let `load` be called when something of `package` is wanted that is not there yet (PEP 562)."""
    module: Any = package
    if hasattr(module, "__getattr__"):
        load()
        return

    def now() -> None:
        if vars(module).pop("__getattr__", None) is not None:
            del module.__dir__
            load()

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in UNSEEN:
            now()
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:  # noqa: N807
        now()
        return dir(module)

    module.__getattr__, module.__dir__ = __getattr__, __dir__


def _import_all(package: types.ModuleType, children: tuple[str, ...]) -> None:
    for child in children:
        importlib.import_module(f"{package.__name__}.{child}")


def _postpone_client() -> None:
    """Import of `jupyter_client` only what a kernel needs, not what talks to kernels."""
    specification: Any = importlib.util.find_spec("jupyter_client")
    if specification is None or specification.loader is None or "jupyter_client" in sys.modules:
        return
    package: Any = importlib.util.module_from_spec(specification)
    sys.modules["jupyter_client"] = package
    _postpone(package, lambda: specification.loader.exec_module(package))
    # The one name that ipykernel takes from the package itself.
    package.write_connection_file = importlib.import_module("jupyter_client.connect").write_connection_file


def _postpone_debugger() -> None:
    """Put in place what the import of the debugger would, as calls of what it does put there."""
    os.environ.setdefault("PYDEVD_USE_FRAME_EVAL", "NO")
    for name in BUILTINS:
        setattr(builtins, name, _of_debugger(builtins, name))
    sys.breakpointhook = _of_debugger(sys, "breakpointhook")


def _of_debugger(place: Any, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        mine = getattr(place, name)
        given = os.environ.get(QUIET)
        os.environ[QUIET] = "1"
        try:
            importlib.import_module("ipykernel.debugger")
        finally:
            if given is None:
                del os.environ[QUIET]
            else:
                os.environ[QUIET] = given
        found = getattr(place, name)
        if found is mine:
            raise NameError(f"name {name!r} is not defined")
        return found(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    return call
