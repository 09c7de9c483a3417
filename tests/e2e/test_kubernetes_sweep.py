"""A sweep of many parameter sets: what they share runs once, and it can be left and taken up again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.e2e.conftest import IMAGE, Kit
from tests.e2e.drive import Cli, notebook, outputs
from tests.e2e.test_kubernetes_run import nothing_left

pytestmark = pytest.mark.timeout(900)
SETS = 50
SHARED = "base = 0\nfor i in range(12_000_000):\n    base += i % 7"


def test_fifty_parameter_sets_are_left_and_collected_and_what_they_share_ran_once(
    kit: Kit, namespace: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").write_text("KEY=secret")
    source = notebook(project / "nb.ipynb", "alpha = 1", SHARED, "score = base * alpha\nscore")
    raw = json.loads(source.read_text())
    raw["cells"][0]["metadata"]["tags"] = ["parameters"]
    source.write_text(json.dumps(raw))
    sets = project / "sets.jsonl"
    sets.write_text("".join(json.dumps({"alpha": n}) + "\n" for n in range(SETS)))
    out = project / "out"
    cli = Cli(kit.kubeconfig, tmp_path)
    words = ("--sweep", str(sets), "--collect", "score", "-o", str(out))
    on = ("--on", "kubernetes", "--image", IMAGE, "-n", namespace)
    with cli.start("run", str(source), *words, *on) as run:
        name = run.until(r"run (\w+) is in namespace")[1]
        run.until(r"set \d+ .* ok in")
        state = json.loads(cli("status", name, "--json").stdout)
        run.interrupt()
        story = run.end(130)
    assert "these stay here, they look like credentials: .env" in story
    assert f"jup2kub collect {name}" in story
    assert len(state["sets"]) == SETS
    told = json.loads(cli("collect", name, "--json").stdout)
    assert [one["state"] for one in told["sets"]] == ["ok"] * SETS
    assert [one["parameters"] for one in told["sets"]] == [{"alpha": n} for n in range(SETS)]

    base = sum(i % 7 for i in range(12_000_000))
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert [(row["alpha"], row["score"]) for row in rows] == [(str(n), str(base * n)) for n in range(SETS)]
    books = sorted(out.glob("*.ipynb"))
    assert len(books) == SETS
    ran = 0
    for number, book in enumerate(books):
        assert outputs(book)[-1] == [str(base * number)]
        cells = json.loads(book.read_text())["cells"]
        shared = next(cell for cell in cells if "".join(cell["source"]) == SHARED)
        ran += shared["metadata"]["jup2kub"]["source"] == "run"
    assert ran == 1
    nothing_left(kit, namespace)
