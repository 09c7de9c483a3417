"""A lab for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import Lab, laboratory


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A notebook's world, with no process left behind."""
    with laboratory(tmp_path) as made:
        yield made
