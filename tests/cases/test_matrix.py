"""Rounds of cases may be cut short and taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from .harness import CONFIGURATIONS
from .loader import load_cases
from .matrix import key, known, rounds, wanted


def test_rounds_are_numbers_and_spans() -> None:
    assert rounds("0-2,7") == [0, 1, 2, 7]
    with pytest.raises(ValueError, match="invalid literal"):
        rounds("all")


def test_a_torn_line_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert known(path) == {}
    path.write_text(json.dumps({"key": "a", "case": "x"}) + '\n{"key": "b", "ca')
    assert set(known(path)) == {"a"}


def test_all_rounds_together_are_the_full_matrix() -> None:
    pairs = {(case.name, str(how)) for case, how in wanted(range(len(CONFIGURATIONS)), "uncommon/")}
    cases = [case for case in load_cases() if case.theme == "uncommon"]
    assert len(pairs) == len(cases) * len(CONFIGURATIONS)


def test_a_result_is_of_one_text_one_configuration_and_one_program() -> None:
    case, how = load_cases()[0], CONFIGURATIONS[0]
    other = replace(case, cells=(*case.cells, "1"))
    keys = {key(case, how, "p"), key(other, how, "p"), key(case, CONFIGURATIONS[1], "p"), key(case, how, "q")}
    assert len(keys) == 4
