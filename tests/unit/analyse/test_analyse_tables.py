"""Annotation tables, paths and rules."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from notebooks_as_text import Analyse, build

from jup2kub.analyse import analyse, hazards
from jup2kub.analyse.annotations import ENTRY_KEYS, load
from jup2kub.errors import UsageError


def test_every_entry_has_known_keys() -> None:
    for name, entry in load().functions.items():
        assert set(entry) <= ENTRY_KEYS, name


def test_patterns_stand_for_many_and_own_entries_win() -> None:
    tables = load()
    assert (tables.function("subprocess.run") or {})["effects"] == ["process"]
    assert (tables.function("random.seed") or {}) == {"seeds": "@rng:random"}
    assert tables.function("nowhere.at_all") is None


def test_users_add_their_own(tmp_path: Path, graph: Analyse) -> None:
    own = tmp_path / "lab.json"
    own.write_text(json.dumps({"functions": {"lab.look": {}}, "packages": {"lab": {"pure": True}}}))
    cells = ["import lab\nx = lab.make()", "lab.look(x)", "print(x)"]
    assert "x" in graph(*cells).cells[1].mutates
    assert "x" not in graph(*cells, annotations=load([str(own)])).cells[1].mutates


@pytest.mark.parametrize(
    ("text", "code"), [("{", "J2K214"), ("[]", "J2K214"), ('{"functions": {"f": {"mutate": [0]}}}', "J2K215")]
)
def test_wrong_tables_are_refused(text: str, code: str, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(text)
    with pytest.raises(UsageError) as caught:
        load([str(own)])
    assert caught.value.code == code


def test_every_rule_has_a_sentence_a_reason_and_a_way_out() -> None:
    page = hazards.page()
    for rule in hazards.RULES:
        assert f"## {rule.code} {rule.title}" in page
        assert rule.reason.endswith(".")
        assert rule.way_out.endswith(".")
        assert "3" in hazards.explain(rule.code, 3, 7, "x") or "7" in hazards.explain(rule.code, 3, 7, "x")


def test_a_thousand_cells_take_little_time() -> None:
    cells = [
        "import numpy as np\nimport pandas as pd\ndf = pd.DataFrame({'a': [1]})\ndef f(x):\n    return x + len(df)"
    ]
    for number in range(999):
        cells.append(
            f"x{number} = f({number}) + df.a.sum()\nl{number} = [i * 2 for i in range(9)]\nl{number}.append(1)\nprint(x{number})"
        )
    notebook = build(*cells)
    start = time.process_time()
    graph = analyse(notebook)
    assert time.process_time() - start < 1.5
    assert len(graph.cells) == 1000
