"""A sweep at one server: what the sets have in common is computed once, and every set has its notebook."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from jup2kub import away
from jup2kub.agent.files import post_images
from jup2kub.agent.session import Told
from jup2kub.compose import Execution

from . import quick
from .test_faults import settings, texts

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
HEAVY = "total = 0\nfor i in range(20_000_000):\n    total += i % 7\nbase = 40"


def test_sets_share_what_does_not_depend_on_them(tmp_path: Path) -> None:
    wanted = settings(tmp_path / "project", [HEAVY, "alpha = 0", "result = base + alpha\nprint(result)"])
    notebook = nbformat.read(wanted.notebook, as_version=4)
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, wanted.notebook)
    wanted = replace(wanted, store=tmp_path / "store", offload="auto")
    stories: dict[int, list[Told]] = {n: [] for n in range(4)}
    found: dict[int, Execution] = {}
    with quick.lab(tmp_path / "store", tmp_path / "lab", agents=2) as line:
        sets = [{"alpha": n} for n in range(4)]
        project = wanted.notebook.parent
        files = post_images(project, away.project_files(project), line.store)
        mine = replace(wanted, collect=("result",))
        sent = away.send_all(mine, sets, line, "run", line.store, files)

        def finished(mine: away.Sent, done: object, seconds: float) -> None:
            assert isinstance(done, Execution), done
            found[mine.number] = done

        away.sweep(sent, line, lambda n, told: stories[n].append(told), finished, tmp_path / "lab")
    assert {n: done.values["result"] for n, done in found.items()} == {n: 40 + n for n in range(4)}
    assert {n: texts(done)[-1] for n, done in found.items()} == {n: f"{40 + n}\n" for n in range(4)}
    heavy = [n for n, story in stories.items() for told in story if told.kind == "start" and told.cell == 0]
    assert len(heavy) == 1
