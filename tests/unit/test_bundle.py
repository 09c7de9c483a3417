"""The one file that pods carry."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jup2kub import bundle


def test_the_same_sources_give_the_same_bytes_and_fit_into_a_config_map() -> None:
    made = bundle.build()
    assert made == bundle.build()
    assert len(made) < bundle.LIMIT


def test_it_holds_what_pods_need_and_nothing_of_the_compiler() -> None:
    names = zipfile.ZipFile(io.BytesIO(bundle.build())).namelist()
    assert {"__main__.py", "jup2kub/pod.py", "jup2kub/kernel/__main__.py", "jup2kub/store/remote.py"} <= set(
        names
    )
    parts = {name.split("/")[1] for name in names if name.startswith("jup2kub/")}
    assert not parts & {"analyse", "planner", "ipynb", "cli", "compose.py", "collect.py"}


def interpreters() -> list[str]:
    """This interpreter, and the oldest that is promised if this machine has it."""
    found = [sys.executable]
    for candidate in (
        shutil.which("python3.9"),
        *map(str, Path.home().glob(".pyenv/versions/3.9*/bin/python")),
    ):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            found.append(candidate)
    return found


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("program", ["server", "agent"])
def test_it_starts_with_nothing_but_an_interpreter(tmp_path: Path, python: str, program: str) -> None:
    path = tmp_path / "jup2kub.pyz"
    path.write_bytes(bundle.build())
    done = subprocess.run(
        [python, "-I", str(path), program, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"jup2kub-{program}" in done.stdout


@pytest.mark.parametrize("python", interpreters())
def test_the_program_of_exported_tasks_starts_alone_too(tmp_path: Path, python: str) -> None:
    path = tmp_path / "program.pyz"
    path.write_bytes(bundle.build(program="part"))
    done = subprocess.run([python, "-I", str(path), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--task" in done.stdout
