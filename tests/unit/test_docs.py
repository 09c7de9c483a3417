"""The documentation says what the program does: every command, option, exit code and error code, and every link."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from jup2kub import errors
from jup2kub.analyse import annotations
from jup2kub.cli.main import VERBS, parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = re.compile(r"J2K\d{3}")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands() -> dict[str, argparse.ArgumentParser]:
    found = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0].choices)


def section(text: str, title: str) -> str:
    """The text below a heading of the second order, to the next."""
    return re.split(r"^## ", text.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_and_option_is_described(verb: str) -> None:
    page = read("cli.md")
    shared = page.split("\n## run\n", 1)[0]
    text = shared + section(page, verb)
    options = [word for action in commands()[verb]._actions for word in action.option_strings]
    assert [word for word in options if not re.search(rf"`{re.escape(word)}[` ]", text)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_is_described_that_does_not_exist(verb: str) -> None:
    known = {word for action in commands()[verb]._actions for word in action.option_strings}
    described = set(re.findall(r"^\| `(--?[a-z][a-z-]*)", section(read("cli.md"), verb), flags=re.M))
    assert described - known == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_valid(verb: str) -> None:
    examples = [
        line.split("|")[0].split("#")[0].split()[2:]
        for line in section(read("cli.md"), verb).splitlines()
        if line.startswith("$ jup2kub")
    ]
    assert examples
    for words in examples:
        assert commands()[verb].parse_args([w.strip("'") for w in words[1:]])


def test_commands_without_a_store_or_json_are_named() -> None:
    told = re.search(r"every command has these \((.*) need no store, `(\w+)` has no JSON\)", read("cli.md"))
    assert told
    for option, named in (("--store", re.findall(r"`(\w+)`", told[1])), ("--json", [told[2]])):
        without = {
            verb for verb, command in commands().items() if option not in command._option_string_actions
        }
        assert set(named) == without


def test_choices_of_options_are_described() -> None:
    page = read("cli.md")
    missing = {
        f"{action.option_strings[0]} {choice}"
        for command in commands().values()
        for action in command._actions
        for choice in action.choices or ()
        if action.option_strings and f"`{action.option_strings[0]} {choice}`" not in page
    }
    assert missing == set()


def test_every_exit_code_is_described() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    described = {
        int(n) for n in re.findall(r"^\| (\d+) \|", section(read("cli.md"), "Exit codes"), flags=re.M)
    }
    assert described == codes


def codes_in_source() -> set[str]:
    """Codes in the strings of the source, docstrings included: what is told must be true."""
    return {
        code
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for code in CODE.findall(node.value)
    }


def test_every_code_is_described_and_none_besides() -> None:
    described = set(re.findall(r"^\| (J2K\d{3}) \|", read("errors.md"), flags=re.M))
    assert described == codes_in_source()


def test_every_code_is_described_once() -> None:
    rows = re.findall(r"^\| (J2K\d{3}) \|", read("errors.md"), flags=re.M)
    assert sorted(rows) == sorted(set(rows))


def test_every_key_of_an_annotation_is_described() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", section(read("annotations.md"), "Keys of a function"), flags=re.M)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == annotations.ENTRY_KEYS


def test_every_key_of_a_package_is_described() -> None:
    used = {key for entry in annotations.load().packages.values() for key in entry}
    rows = re.findall(r"^\| `(\w+)` \|", section(read("annotations.md"), "Keys of a package"), flags=re.M)
    assert set(rows) >= used


def test_the_example_of_annotations_is_valid(tmp_path: Path) -> None:
    example = re.findall(r"```json\n(.*?)```", read("annotations.md"), flags=re.S)[0]
    path = tmp_path / "lab.json"
    path.write_text(example, encoding="utf-8")
    entry = annotations.load([str(path)]).function("lab.calibrate")
    assert entry == {"mutates": [0]}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as forges make them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_front_page_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
