"""A notebook cut into parts at selected cells, as the paper does it: a boundary lies before every cell that is selected.

select has_html_tag h2 | split -s       nbmanips' own words, by nbmanips if it is installed (optional extra)
h2                                      a heading of that order (ATX and setext), in Markdown cells alone
headings                                any heading
tag NAME                                a cell tag
match REGEX                             a regular expression, found in a Markdown cell
cells                                   every code cell is a part
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.model.notebook import Cell, Notebook

HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?[ \t]*#*[ \t]*$", re.MULTILINE)
SETEXT = re.compile(r"^ {0,3}(\S.*)\n {0,3}(=+|-+)[ \t]*$", re.MULTILINE)
FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
HTML_HEADING = re.compile(r"<h([1-6])\b[^>]*>(.*?)</h\1>", re.IGNORECASE | re.DOTALL)
HINT = "write `h2`, `tag NAME`, `match REGEX`, `cells`, or nbmanips' `select has_html_tag h2 | split -s`"


@dataclass(frozen=True)
class Part:
    """One part of a notebook."""

    number: int
    """From 1."""
    title: str
    """First heading or tag; empty = it has none."""
    cells: tuple[int, ...]
    """Indices among all cells of the whole notebook."""

    @property
    def name(self) -> str:
        """A name for files: number and title, in letters, digits and dashes."""
        words = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:40].strip("-")
        return f"{self.number:02d}-{words}" if words else f"{self.number:02d}"


def split(notebook: Notebook, selector: str) -> tuple[Part, ...]:
    """Return the parts, all of whose cells together are the notebook's, in order.

    Raises UsageError J2K690 (the selector is not understood), J2K691 (it selects nothing), or EnvironmentProblem J2K692
    (it is in nbmanips' words, and nbmanips is not installed).
    """
    words = _words(selector)
    chosen = (
        _by_nbmanips(notebook, selector) if words[:1] == ["select"] else _chosen(notebook, selector, words)
    )
    if not chosen:
        raise UsageError("J2K691", f"`{selector}` selects no cell of the notebook", HINT)
    starts = sorted({0, *chosen})
    ends = [*starts[1:], len(notebook.cells)]
    parts: list[Part] = []
    for start, end in zip(starts, ends, strict=True):
        cells = tuple(range(start, end))
        if cells:
            parts.append(Part(len(parts) + 1, title(notebook.cells[start]), cells))
    return tuple(parts)


def _words(selector: str) -> list[str]:
    try:
        return shlex.split(selector)
    except ValueError as error:
        raise UsageError("J2K690", f"the selector `{selector}` cannot be read: {error}", HINT) from error


def _chosen(notebook: Notebook, selector: str, words: Sequence[str]) -> list[int]:
    test = _test(selector, words)
    return [c.index for c in notebook.cells if test(c)]


def _test(selector: str, words: Sequence[str]) -> Callable[[Cell], bool]:
    kind, rest = (words[0], selector.strip().partition(" ")[2].strip()) if words else ("", "")
    if kind == "cells" and not rest:
        return lambda cell: cell.kind == "code"
    if kind == "headings" and not rest:
        return lambda cell: cell.kind == "markdown" and bool(headings(cell.source))
    if re.fullmatch(r"h[1-6]", kind) and not rest:
        return lambda cell: cell.kind == "markdown" and int(kind[1]) in {o for o, _ in headings(cell.source)}
    if kind == "tag" and len(words) == 2:
        return lambda cell: words[1] in cell.tags
    if kind == "match" and rest:
        try:
            pattern = re.compile(rest, re.MULTILINE)
        except re.error as error:
            raise UsageError("J2K690", f"`{rest}` is no regular expression: {error}", HINT) from error
        return lambda cell: cell.kind == "markdown" and bool(pattern.search(cell.source))
    raise UsageError("J2K690", f"the selector `{selector}` is not known", HINT)


def headings(markdown: str) -> list[tuple[int, str]]:
    """Return (order, text) of the headings of a Markdown text; `#` in a code block is none (CommonMark 4.2, 4.3)."""
    text = FENCE.sub(lambda m: "\n" * m[0].count("\n"), markdown)
    found = [(m.start(), len(m[1]), m[2] or "") for m in HEADING.finditer(text)]
    found += [
        (m.start(), 1 if m[2][0] == "=" else 2, m[1])
        for m in SETEXT.finditer(text)
        if not re.match(r"[#>*+|-]|\d+[.)]", m[1])
    ]
    found += [(m.start(), int(m[1]), re.sub(r"<[^>]+>", "", m[2])) for m in HTML_HEADING.finditer(text)]
    return [(order, words.strip()) for _, order, words in sorted(found)]


def title(cell: Cell) -> str:
    """Return what a part that begins with this cell is called; empty if nothing tells."""
    if cell.kind == "markdown":
        found = headings(cell.source)
        return found[0][1] if found else ""
    if cell.options.step:
        return cell.options.step
    return min(cell.tags, default="")


def _by_nbmanips(notebook: Notebook, selector: str) -> list[int]:
    """Return the cells that nbmanips selects: `select SELECTOR [ARGUMENT…] [| select …] | split -s`."""
    stages = [_words(stage) for stage in selector.split("|")]
    last = stages.pop()
    if last[:1] != ["split"] or last[1:] not in (["-s"], ["--selection"], []):
        raise UsageError("J2K690", f"`{selector}` does not end in `split -s`", HINT)
    if importlib.util.find_spec("nbmanips") is None:
        raise EnvironmentProblem(
            "J2K692",
            "the selector is in nbmanips' words, and nbmanips is not installed",
            "`pip install 'jup2kub[nbmanips]'` (it brings a package under GPL-3), or use a selector of jup2kub's own",
        )
    import nbmanips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = nbmanips.Notebook(plain(notebook.document), validate=False)
        try:
            for stage in stages:
                if stage[:1] != ["select"] or len(stage) < 2:
                    raise UsageError("J2K690", f"`{' '.join(stage)}` is no `select`", HINT)
                found = found.select(stage[1], *map(_value, stage[2:]))
            return sorted(int(cell.num) for cell in found.list_cells())
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UsageError("J2K690", f"nbmanips does not take `{selector}`: {error}", HINT) from error


def _value(word: str) -> Any:
    return int(word) if re.fullmatch(r"-?\d+", word) else word


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that may be changed."""
    return {**document, "cells": [dict(c) for c in document["cells"]], "metadata": dict(document["metadata"])}


def part_document(notebook: Notebook, part: Part) -> dict[str, Any]:
    """Return the part as an nbformat document: its cells as they are, without outputs, ids and kernelspec kept."""
    cells = []
    for index in part.cells:
        cell = dict(notebook.document["cells"][index])
        if cell["cell_type"] == "code":
            cell = {**cell, "outputs": [], "execution_count": None}
        cells.append(cell)
    metadata = dict(notebook.document["metadata"])
    metadata["jup2kub"] = {
        **(metadata.get("jup2kub") or {}),
        "part": {"number": part.number, "title": part.title, "cells": [part.cells[0], part.cells[-1]]},
    }
    return {**notebook.document, "metadata": metadata, "cells": cells}
