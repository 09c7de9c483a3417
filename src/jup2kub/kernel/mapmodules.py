"""Modules of the project: their globals belong to what a loop may touch, those of libraries do not."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Mapping
from typing import Any

from .files import quiet_prefixes

_OURS = __name__.partition(".")[0]
_KNOWN: dict[str, bool] = {}
"""By file of a module: whether it is the project's."""


def own_module(name: Any) -> types.ModuleType | None:
    """Return the module of this name if its file lies where no libraries lie; the notebook itself is none."""
    module = sys.modules.get(name) if isinstance(name, str) and name.partition(".")[0] != _OURS else None
    file = getattr(module, "__file__", None)
    if not isinstance(module, types.ModuleType) or not isinstance(file, str) or name == "__main__":
        return None
    if file not in _KNOWN:
        _KNOWN[file] = not os.path.abspath(file).startswith(quiet_prefixes())
    return module if _KNOWN[file] else None


def is_own(module: Any) -> bool:
    """Whether `module` is a module of the project."""
    return isinstance(module, types.ModuleType) and own_module(module.__name__) is module


def is_globals(found: Mapping[Any, Any]) -> bool:
    """Whether a dictionary is the globals of a module of the project."""
    module = own_module(dict.get(found, "__name__")) if isinstance(found, dict) else None
    return module is not None and vars(module) is found


def variables(found: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the globals of a module without what the interpreter keeps there."""
    return {n: v for n, v in found.items() if not (isinstance(n, str) and n[:2] == n[-2:] == "__")}
