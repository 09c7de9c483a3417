"""Run a cell plainly and with its loops mapped, and compare everything a user could see."""

from __future__ import annotations

import ast
import contextlib
import io
import textwrap
from dataclasses import dataclass
from typing import Any

from jup2kub.analyse import loops
from jup2kub.kernel import maps, rewrite
from jup2kub.model.notebook import Cell, Notebook


@dataclass
class Outcome:
    namespace: dict[str, Any]
    printed: str
    error: str
    reports: list[dict[str, Any]]


def run(source: str, settings: maps.MapSettings | None, *, asked: bool = True, **given: Any) -> Outcome:
    """Run `source` as one cell with `given` names; `settings` None = as plain Python."""
    source = textwrap.dedent(source).strip() + "\n"
    tree = ast.parse(source)
    namespace: dict[str, Any] = {"__name__": "cell", **given}
    if settings is not None:
        cell = Cell(0, "a", "code", source, python=source)
        found, _ = loops.find(Notebook((cell,), "", "python", {}))
        specs = [{**vars(loop), "asked": asked} for loop in found]
        tree = rewrite.rewrite(tree, specs)
        maps.install(namespace, settings)
    out, error = io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(tree, "<cell>", "exec"), namespace)
        except Exception as raised:
            trace, line = raised.__traceback__, 0
            while trace is not None:
                line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "<cell>" else line
                trace = trace.tb_next
            error = f"{type(raised).__name__}: {raised} in line {line}"
    return Outcome(namespace, out.getvalue(), error, maps.report() if settings is not None else [])


def visible(namespace: dict[str, Any]) -> dict[str, Any]:
    """Values that can be compared, by name."""
    return {n: v for n, v in namespace.items() if not n.startswith("__") and not callable(v)}
