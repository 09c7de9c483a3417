"""`--full` for the cases, and the table at the end of a session."""

from __future__ import annotations

import os
from typing import Any

import pytest

from .report import table


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run every case in every configuration (or JUP2KUB_FULL=1)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "how" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full", default=False) or os.environ.get("JUP2KUB_FULL") == "1"
        metafunc.parametrize(("case", "how"), metafunc.module.runs(full))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [
        r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ()) if r.when == "call"
    ]
    lines = table([dict(r.user_properties) for r in reports])
    if lines:
        terminalreporter.section("cases")
        terminalreporter.write_line("\n".join(lines))
