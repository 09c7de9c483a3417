"""The environment variables that the notebook itself has changed: all that is ever kept of the environment."""

from __future__ import annotations

import os
import re
from typing import Any

SECRET = re.compile(
    r"secret|token|passw|passphrase|credential|private|bearer|api_?key|access_?key|(^|_)(key|pwd|auth)$",
    re.IGNORECASE,
)
"""Names of variables whose values are nobody's business: neither store nor report gets them."""

_start: dict[str, str] = {}


def begin() -> None:
    """Take the environment as the kernel started with it for granted: every kernel of a run starts so."""
    _start.clear()
    _start.update(os.environ)


def changes() -> dict[str, Any]:
    """Return what was `set` since and what is `gone`. Raises PermissionError for a name that looks secret."""
    found = {name: value for name, value in os.environ.items() if _start.get(name) != value}
    secret = next((name for name in sorted(found) if SECRET.search(name)), None)
    if secret is not None:
        raise PermissionError(f"the environment variable {secret} looks secret, so its value is not stored")
    return {"set": found, "gone": sorted(set(_start) - set(os.environ))}


def put(state: dict[str, Any]) -> None:
    """Bring the environment into the state that `changes` gave."""
    wanted = {**_start, **state["set"]}
    for name in state["gone"]:
        wanted.pop(name, None)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
