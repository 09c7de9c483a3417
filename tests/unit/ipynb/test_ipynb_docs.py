import re
from pathlib import Path

from jup2kub.ipynb import options

PAGE = (Path(__file__).parents[3] / "docs" / "notebook-options.md").read_text(encoding="utf-8")


def test_every_option_is_documented_and_every_documented_option_exists():
    table = PAGE.split("## The options")[1].split("| code |")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(options._KEYS)


def test_every_example_in_an_error_can_be_read():
    for example in options._EXAMPLES.values():
        options.read_options(0, f"#| {example}", {})
    assert set(options._EXAMPLES) == set(options._KEYS)
