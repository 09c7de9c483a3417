"""The rules page is generated, and is what the rules say now."""

from __future__ import annotations

from pathlib import Path

from jup2kub.analyse import hazards

PAGE = Path(__file__).parents[3] / "docs" / "rules" / "README.md"


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == hazards.page(), "write it anew: docs/rules/README.md is hazards.page()"


def test_every_rule_has_a_reason_and_a_way_out() -> None:
    assert len({rule.code for rule in hazards.RULES}) == len(hazards.RULES)
    for rule in hazards.RULES:
        assert rule.reason
        assert rule.way_out
        assert rule.code in hazards.page()
