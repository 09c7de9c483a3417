"""The real notebooks are built the same way every time, and a planned run of each gives its sequential answer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nbformat
import pytest

from jup2kub.cli.main import main

from .build import build, names

QUICK = ("pendulum_derivation", "speech_topics", "temperature_series")
"""Formulas, text, tables: the notebooks that every run of the tests verifies."""


def _digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_build_is_reproducible_and_valid(tmp_path: Path) -> None:
    for notebook in build(tmp_path / "one"):
        nbformat.validate(json.loads(notebook.read_text()))
    build(tmp_path / "two")
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")


def test_there_are_enough_of_the_size_that_scientists_write(tmp_path: Path) -> None:
    sizes = {p.stem: len(json.loads(p.read_text())["cells"]) for p in build(tmp_path)}
    assert len(sizes) >= 20
    assert not {name: size for name, size in sizes.items() if not 10 <= size <= 60}


@pytest.mark.kernel
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in names()]
)
def test_planned_run_is_verified(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (notebook,) = build(tmp_path / "project", [name])
    code = main(["verify", str(notebook), "--workers", "2", "--store", str(tmp_path / "store"), "--json"])
    told = capfd.readouterr().out
    assert code == 0, told
    assert json.loads(told)["equal"] is True
