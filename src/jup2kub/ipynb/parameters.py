"""Parameters, as papermill has them."""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Callable, Mapping
from typing import Any

from jup2kub.errors import UsageError
from jup2kub.kit.canon import nearest
from jup2kub.model.notebook import Cell, Notebook

from .read import from_document, give_ids

TAG, INJECTED = "parameters", "injected-parameters"


def resolve(text: str) -> Any:
    """Return the value of one `-p name=text`: True, False, None, an int, a float, else the text itself."""
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def inject(notebook: Notebook, values: Mapping[str, Any]) -> Notebook:
    """Return the notebook with a cell that sets `values`; the notebook itself if there are none.

    The cell replaces the first one tagged `injected-parameters`, else follows the first one tagged `parameters`,
    else is the first. Raises UsageError J2K220 for a name that cannot be a variable, J2K222 for a language, or a
    value in it, that cannot be written down.
    """
    if not values:
        return notebook
    source = _codify(notebook.language, values)
    cells = [dict(cell) for cell in notebook.document["cells"]]
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": [INJECTED]},
        "outputs": [],
        "source": source,
    }
    injected, own = _tagged(notebook, INJECTED), _tagged(notebook, TAG)
    if injected:
        cells[injected.index] = cell
    else:
        cells.insert(own.index + 1 if own else 0, cell)
    give_ids(cells)
    return from_document({**notebook.document, "cells": cells})


def notes(notebook: Notebook, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the user should be told before these values are injected; empty = nothing."""
    if not values:
        return ()
    own = _tagged(notebook, TAG)
    if not own:
        return ("no cell has the tag `parameters`: the values are set in a new first cell",)
    known = _names(own)
    if known is None:
        return ()
    found = []
    for name in values:
        if name not in known:
            near = nearest(name, known)
            found.append(
                f"the cell tagged `parameters` does not set `{name}`"
                + (f"; did you mean `{near}`?" if near else "")
            )
    return tuple(found)


def _tagged(notebook: Notebook, tag: str) -> Cell | None:
    return next((cell for cell in notebook.cells if tag in cell.tags), None)


def _names(cell: Cell) -> set[str] | None:
    """Return the names that a parameters cell binds; None if its text cannot tell."""
    if cell.python is None:
        return None
    nodes = ast.walk(ast.parse(cell.python))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


# -- values in the notebook's language ---------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def _python(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_quoted(str(k))}: {_python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_python, value)) + "]"
    return _quoted(str(value))


def _r(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "TRUE", False: "FALSE"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "list(" + ", ".join(f"{_quoted(str(k))} = {_r(v)}" for k, v in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return "list(" + ", ".join(map(_r, value)) + ")"
    return _quoted(str(value))


def _julia(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Mapping):
        return "Dict(" + ", ".join(f"{_quoted(str(k))} => {_julia(v)}" for k, v in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_julia, value)) + "]"
    return _quoted(str(value)).replace("$", "\\$")  # else Julia would interpolate


_LANGUAGES: Mapping[str, Callable[[Any], str]] = {"python": _python, "r": _r, "julia": _julia}


def _codify(language: str, values: Mapping[str, Any]) -> str:
    write = _LANGUAGES.get(language.lower())
    if write is None:
        raise UsageError(
            "J2K222",
            f"parameters cannot be set in a notebook of the language {language}",
            "they can in Python, R and Julia; edit the notebook's own cell instead",
        )
    for name in values:
        if not name.isidentifier() or (language == "python" and keyword.iskeyword(name)):
            raise UsageError("J2K220", f"`{name}` cannot be the name of a variable", "write `-p name=value`")
    # R has no names that begin with an underscore; papermill drops it, and so do we.
    names = {name: name.lstrip("_") if language.lower() == "r" else name for name in values}
    return "# Parameters\n" + "".join(f"{names[name]} = {write(value)}\n" for name, value in values.items())
