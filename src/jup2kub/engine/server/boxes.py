"""Letters to agents, kept until they are acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Letter = Mapping[str, Any]


@dataclass
class Box:
    """Letters to one agent, until it says that it has them."""

    bell: threading.Condition
    about: Mapping[str, Any]
    """What it said of itself when it joined."""
    letters: list[Letter] = field(default_factory=list)
    written: int = 0
    heard: int = 0
    """Number of the last event taken from it."""
