"""Where in its text a cell failed, and what the names that it uses held: for the one who has to mend it."""

from __future__ import annotations

import contextlib
import reprlib
import types
from collections.abc import Iterable, Mapping
from typing import Any

MOST = 12
"""Names that are told."""
WIDTH = 100
"""Characters of a value."""
PLAIN = (int, float, complex, str, bytes, bool, type(None), list, tuple, dict, set, frozenset, range)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = WIDTH
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxset = 2, 6, 6, 4, 6


def describe(result: Any, namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return `line` of the cell's text (None = not known) and `inputs`: short texts of values by name.

    `result`: IPython's of the cell. No code of the notebook is called, and nothing is raised.
    """
    found: dict[str, Any] = {"line": None, "inputs": {}}
    with contextlib.suppress(Exception):
        error = result.error_before_exec or result.error_in_exec
        found["line"] = error.lineno if isinstance(error, SyntaxError) else line(error, namespace)
    for name in sorted(names):
        if name in namespace and not isinstance(namespace[name], (type, types.ModuleType)):
            if len(found["inputs"]) == MOST:
                break
            with contextlib.suppress(Exception):
                if not callable(namespace[name]):
                    found["inputs"][name] = short(namespace[name])
    return found


def line(error: BaseException, namespace: Mapping[str, Any]) -> int | None:
    """Return the line at the top level of the cell where the exception passed through."""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if step.tb_frame.f_globals is namespace and not code.co_flags & 0x2:  # no frame of a function
            return step.tb_lineno
        step = step.tb_next
    return None


def short(value: Any) -> str:
    """Return a short text of the value; of what has a text of its own making only the type, and the shape if any."""
    if type(value) in PLAIN:
        text = _SHORT.repr(value)
        return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
    cls = type(value)
    shape = getattr(value, "shape", None) if (cls.__module__ or "").partition(".")[0] != "__main__" else None
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        kind = getattr(value, "dtype", "")
        size = " × ".join(str(n) for n in shape) or "one value"
        return f"{cls.__name__}, {size}" + (f", {kind}" if kind else "")
    return f"a {cls.__name__}"
