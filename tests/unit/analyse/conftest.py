"""Analyses cells given as text."""

from __future__ import annotations

import pytest
from notebooks_as_text import Analyse, build, transform

from jup2kub.analyse import analyse
from jup2kub.model.flow import FlowGraph


@pytest.fixture
def graph() -> Analyse:
    def run(*sources: str, tags: dict[int, str] | None = None, **options: object) -> FlowGraph:
        return analyse(build(*sources, tags=tags), to_python=transform, **options)  # type: ignore[arg-type]

    return run
