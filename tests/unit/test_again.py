"""An unchanged notebook is found again by sizes and times of files; whatever decides what is built is among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jup2kub import again
from jup2kub.again import Found, Question, Shown, Used
from jup2kub.fingerprint import Where
from jup2kub.images.blobs import Blobs

FOUND = Found(
    (Shown("main", "localhost/a:main-1", "sha256:" + "0" * 64, 10, 10, ("/opt/python",)),), ("a note",)
)
HEAVY = ("jup2kub.compose", "jup2kub.imaging", "jup2kub.analyse", "jup2kub.engine", "packaging", "asyncio")


class World:
    """A notebook, an environment with two distributions, and what a build of the one has read of the other."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch = root, monkeypatch
        self.site = root / "env" / "site-packages"
        self.distribution("Used_Thing", "used", "../bin/used")
        self.distribution("other", "other")
        (root / "env" / "lib").mkdir()
        (root / "env" / "lib" / "os.py").write_text("")
        self.program = root / "env" / "python"
        self.program.write_text("")
        (root / "project").mkdir()
        self.notebook = root / "project" / "a.ipynb"
        kernel = {"kernelspec": {"name": "mine"}}
        self.notebook.write_text(json.dumps({"metadata": kernel, "cells": [], "nbformat": 4}))
        self.spec = root / "jupyter" / "kernels" / "mine"
        self.spec.mkdir(parents=True)
        argv = [str(self.program), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (self.spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(root / "jupyter"))
        self.blobs = Blobs(root / "cache")
        self.blob = self.blobs.put(b"a layer")
        self.question = Question(self.notebook, "lock", "debian", "zstd")
        self.base = root / "base.txt"
        self.base.write_text("numpy\n")
        where = Where(
            "3.11",
            str(root / "env"),
            "/usr",
            str(root / "user"),
            str(root / "env" / "lib"),
            (str(self.site),),
        )
        self.used = Used(
            where,
            frozenset({"used-thing"}),
            (str(self.base), str(root / "carried" / "x.py")),
            (str(root / "carried"),),
        )
        for place in root.rglob("*"):
            os.utime(place, (1e9, 1e9))

    def distribution(self, name: str, module: str, *more: str) -> None:
        described = self.site / f"{name}-1.0.dist-info"
        for folder in (described, self.site / module / "deep"):
            folder.mkdir(parents=True)
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (self.site / module / "deep" / "m.py").write_text("x = 1\n")
        (described / "RECORD").write_text("".join(f"{p},,\n" for p in (f"{module}/deep/m.py", *more)))

    def remember(self, began: int | None = None) -> None:
        began = time.time_ns() + 10**12 if began is None else began
        again.remember(self.blobs, self.question, os.environ, self.used, (FOUND, [self.blob]), began)

    def look(self) -> Found | None:
        return again.look(self.blobs, self.question, os.environ)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_what_was_built_is_found_while_nothing_changes(world: World) -> None:
    assert world.look() is None
    world.remember()
    assert world.look() == FOUND
    assert again.look(world.blobs, replace(world.question, base="other"), os.environ) is None


CHANGES: dict[str, Callable[[World], object]] = {
    "the notebook": lambda w: w.notebook.write_text(w.notebook.read_text() + " "),
    "a new module beside it": lambda w: (w.notebook.parent / "helper.py").write_text(""),
    "a new requirement file": lambda w: (w.notebook.parent / "requirements.txt").write_text(""),
    "a requirement file that another names": lambda w: w.base.write_text("numpy<2\n"),
    "a file of a distribution in the lock": lambda w: (w.site / "used" / "deep" / "m.py").write_text(
        "x = 22\n"
    ),
    "a new file in it": lambda w: (w.site / "used" / "new.so").write_text(""),
    "its script outside of the libraries": lambda w: (
        (w.root / "env" / "bin").mkdir() or (w.root / "env" / "bin" / "used").write_text("")
    ),
    "another version of it": lambda w: (w.site / "Used_Thing-1.0.dist-info").rename(
        w.site / "used_thing-1.1.dist-info"
    ),
    "a package that is new": lambda w: (w.site / "third").mkdir(),
    "a package of the user's own": lambda w: (
        (w.root / "user").mkdir() or (w.root / "user" / "m.py").write_text("")
    ),
    "a path file": lambda w: (w.site / "a.pth").write_text("/elsewhere\n"),
    "the interpreter": lambda w: w.program.write_text("another"),
    "the standard library": lambda w: (w.root / "env" / "lib" / "os.py").write_text("x"),
    "the kernelspec": lambda w: (w.spec / "kernel.json").write_text(
        (w.spec / "kernel.json").read_text().replace('"-m"', '"-E", "-m"')
    ),
    "a file that is carried and new": lambda w: (
        (w.root / "carried").mkdir() or (w.root / "carried" / "x.py").write_text("")
    ),
    "a variable of pip": lambda w: w.monkeypatch.setenv("PIP_NO_INDEX", "1"),
    "a secret to be kept out": lambda w: w.monkeypatch.setenv("API_TOKEN", "v3ry-secret-value"),
    "a layer that is gone": lambda w: w.blobs.path(w.blob.digest).unlink(),
    "a layer that is torn": lambda w: w.blobs.path(w.blob.digest).write_bytes(b"a"),
    "another kernel": lambda w: w.monkeypatch.setenv("JUPYTER_PATH", "/nowhere"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_decides_what_is_built_is_looked_at(world: World, what: str) -> None:
    world.remember()
    assert world.look() == FOUND
    CHANGES[what](world)
    assert world.look() is None


SAME: dict[str, Callable[[World], object]] = {
    "data beside the notebook": lambda w: (w.notebook.parent / "data.csv").write_text("1"),
    "another distribution's own file": lambda w: (w.site / "other" / "deep" / "m.py").write_text("x = 22\n"),
    "bytecode": lambda w: (w.site / "used" / "deep" / "m.pyc").write_text(""),
    "an environment in the project's folder": lambda w: (
        (w.notebook.parent / ".venv").mkdir()
        or (
            (w.notebook.parent / ".venv" / "pyvenv.cfg").write_text(""),
            (w.notebook.parent / ".venv" / "a.py").write_text(""),
        )
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_what_decides_nothing_is_not(world: World, what: str) -> None:
    world.remember()
    SAME[what](world)
    assert world.look() == FOUND


def test_a_file_written_while_the_build_read_it_is_not_trusted(world: World) -> None:
    began = time.time_ns()
    (world.site / "used" / "deep" / "m.py").write_text("x = 2\n")
    world.remember(began)
    assert world.look() is None


def test_a_distribution_that_does_not_say_what_is_its_own_counts_with_its_whole_place(world: World) -> None:
    (world.site / "Used_Thing-1.0.dist-info" / "RECORD").unlink()
    world.remember()
    assert world.look() == FOUND
    (world.site / "other" / "deep" / "m.py").write_text("x = 22\n")
    assert world.look() is None


def test_a_record_of_another_shape_is_no_answer(world: World) -> None:
    world.blobs.remember(world.question.key, {"facts": {}, "found": {}, "blobs": [["sha256:0"]]})
    assert world.look() is None


def test_the_verb_loads_nothing_that_builds() -> None:
    code = f"import sys, jup2kub.cli.build; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
