"""Every way to watch a kernel tells the same facts, as far as it can see; what it cannot see, it says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from jup2kub import ipynb
from jup2kub.agent.launch import find
from jup2kub.capture import backends
from jup2kub.capture.backends import Backend
from jup2kub.capture.environment import look
from jup2kub.capture.trace import Subject, Traced, environ_for, trace
from jup2kub.model.env import DataFile

CELLS = (
    "rows = open('in.csv').read().splitlines()",
    "with open('out.txt', 'w') as file:\n    file.write(str(len(rows)))",
    "import os\nos.rename('out.txt', 'renamed.txt')",
    "import subprocess\nsubprocess.run(['cp', 'in.csv', 'copied.csv'], check=True)",
    "import sqlite3\nc = sqlite3.connect('a.db')\nc.execute('create table t(x)')\nc.commit()\nc.close()",
    "import threading\nt = threading.Thread(target=lambda: open('late.txt', 'w').close())\nt.start(); t.join()",
    "import socket\ntry:\n    socket.getaddrinfo('nowhere.invalid', 80)\nexcept OSError:\n    pass",
    "open('.env').read()\nx = 1",
)


def _available(name: str) -> str:
    return {"reprozip": backends._try_reprozip, "strace": backends._try_strace, "hook": lambda: ""}[name]()


@pytest.fixture(params=["reprozip", "strace", "hook"])
def backend(request: pytest.FixtureRequest) -> Backend:
    why = _available(request.param)
    if why:
        pytest.skip(f"!!! {request.param} does not work on this machine: {why} !!!")
    return Backend(request.param, "")


def subject(folder: Path, *cells: str) -> Subject:
    made = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "source": s,
            "outputs": [],
            "execution_count": None,
        }
        for i, s in enumerate(cells)
    ]
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
    notebook = ipynb.read(json.dumps(document).encode(), "study.ipynb")
    launch = find("python3", cwd=str(folder))
    return Subject(notebook, folder, launch, look(launch.argv, launch.env, folder, ()))


def watched(folder: Path, backend: Backend, *cells: str) -> tuple[Traced, dict[str, DataFile]]:
    project, scratch = folder / "project", folder / "scratch"
    project.mkdir()
    scratch.mkdir()
    (project / "in.csv").write_text("a\n1\n2\n")
    (project / ".env").write_text("X=planted\n")
    found = asyncio.run(trace(subject(project, *cells), backend, scratch))
    return found, {d.path: d for d in found.seen.data}


@pytest.mark.kernel
def test_reads_and_writes_belong_to_their_cells(tmp_path: Path, backend: Backend) -> None:
    found, data = watched(tmp_path, backend, *CELLS)
    assert found.failed is None
    assert data["in.csv"].read_by[0] == 0
    assert data["in.csv"].sha256 is not None
    assert data["in.csv"].written_by == ()
    assert data["renamed.txt"].written_by == (2,)
    assert data["late.txt"].written_by == (5,)
    assert data["late.txt"].bytes is None
    assert found.seen.hosts == ("nowhere.invalid:80",)
    assert found.seen.withheld == (".env (cell 7): credentials: it is called .env",)
    assert ".env" not in data
    assert found.seen.backend == backend.name
    assert "sqlite3" in found.seen.imports
    unseen = " ".join(found.seen.unseen)
    if backend.name == "hook":
        assert "C libraries" in unseen
        assert "child processes" in unseen
        assert found.seen.libraries == ()
        return
    assert data["in.csv"].read_by == (0, 3)
    assert data["copied.csv"].written_by == (3,)
    assert data["a.db"].written_by == (4,)
    assert any("/libc.so" in lib.path for lib in found.seen.libraries)
    assert any(lib.path.endswith("/cp") for lib in found.seen.libraries)


@pytest.mark.kernel
def test_a_cell_that_raises_ends_the_capture_and_is_named(tmp_path: Path, backend: Backend) -> None:
    found, data = watched(
        tmp_path, backend, "open('in.csv').read()", "1 / 0", "open('never.txt', 'w').close()"
    )
    assert found.failed == 1
    assert found.error is not None
    assert found.error.ename == "ZeroDivisionError"
    assert set(data) == {"in.csv"}


@pytest.mark.kernel
def test_a_kernel_that_dies_leaves_its_notes(tmp_path: Path, backend: Backend) -> None:
    found, data = watched(tmp_path, backend, "open('in.csv').read()", "import os\nos._exit(3)")
    assert found.failed == 1
    assert data["in.csv"].read_by == (0,)


def test_the_watched_kernel_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "planted-1")
    monkeypatch.setenv("UNRELATED_SETTING", "planted-2")
    monkeypatch.setenv("STUDY_FOLDER", "kept")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:planted-3@proxy:1")
    wanted = subject(tmp_path, "import os\nos.environ['STUDY_FOLDER'], os.environ.get('SERVICE_TOKEN')")
    given = environ_for(wanted.launch, wanted.notebook)
    assert "planted" not in " ".join(given.values())
    assert given["STUDY_FOLDER"] == "kept"
    assert given["PATH"] == os.environ["PATH"]
