"""Reads the cases: small notebooks in text files, each with the order its cells truly need.

A file holds many cases::

    === name | what it is about
    needs: 0->1 1->2          the target gives another answer if the source has not run: proved by `oracle`
    order: 1->2               the target must come later although it reads nothing (files: write after read or write)
    may: 0->2                 a sound analysis may order them without having run them; not counted as parallelism lost
    free: 2|3                 truly independent, and the text shows it: no analysis may order them
    tags: 1=raises-exception
    # %%
    first cell
    # %%
    second cell
    +++ data.csv
    the text of a file that lies beside the notebook

Cells are counted from 0. Every case is deterministic, ends in less than a second, and needs only the standard library,
numpy, pandas, matplotlib and scikit-learn.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Pair = tuple[int, int]
_HEADERS = ("needs", "order", "may", "free", "tags")


@dataclass(frozen=True)
class Case:
    """One small notebook."""

    name: str
    about: str
    theme: str
    """Name of the text file it stands in, without suffix."""
    cells: tuple[str, ...]
    needs: frozenset[Pair] = frozenset()
    """(source, target): the target reads what the source wrote."""
    order: frozenset[Pair] = frozenset()
    """(source, target): must be ordered, though not for a value."""
    may: frozenset[Pair] = frozenset()
    """(source, target): may be ordered by an analysis that has not run the notebook."""
    free: frozenset[Pair] = frozenset()
    """(earlier, later): must not be ordered."""
    tags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Text of the files beside the notebook, by relative path."""

    @property
    def required(self) -> frozenset[Pair]:
        """Every pair that must be ordered, directly or through others."""
        return closure(self.needs | self.order)

    @property
    def independent(self) -> frozenset[Pair]:
        """Every pair that nothing orders: what parallelism there is to keep."""
        ordered = closure(self.needs | self.order | self.may)
        return frozenset(combinations(range(len(self.cells)), 2)) - ordered

    def ancestors(self, cell: int, without: Pair | None = None) -> list[int]:
        """Return the cells that `cell` needs, in notebook order; `without`: as if that edge did not exist."""
        edges = self.needs - {without} if without else self.needs
        return sorted(source for source, target in closure(edges) if target == cell)


def closure(pairs: frozenset[Pair]) -> frozenset[Pair]:
    """Return the transitive closure of a set of (source, target) pairs."""
    found = set(pairs)
    while True:
        more = {(a, d) for a, b in found for c, d in found if b == c} - found
        if not more:
            return frozenset(found)
        found |= more


@lru_cache(maxsize=1)
def load_cases() -> list[Case]:
    """Return all cases in order of file and text. Raises ValueError where a file breaks the format."""
    cases: list[Case] = []
    for path in sorted(HERE.glob("*.txt")):
        for block in re.split(r"^=== ", path.read_text(), flags=re.M)[1:]:
            cases.append(_case(path.stem, block))
    names = [c.name for c in cases]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ValueError(f"cases named twice: {sorted(twice)}")
    return cases


def to_notebook(case: Case) -> dict[str, Any]:
    """Return the case as an nbformat 4.5 dictionary without outputs."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell-{i}",
                "metadata": {"tags": list(case.tags[i])} if i in case.tags else {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for i, source in enumerate(case.cells)
        ],
    }


def write_case(case: Case, folder: Path) -> Path:
    """Write the notebook and its files into `folder`; return the notebook's path."""
    for name, text in case.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    path = folder / f"{case.name}.ipynb"
    path.write_text(json.dumps(to_notebook(case), indent=1))
    return path


def _case(theme: str, block: str) -> Case:
    title, _, body = block.partition("\n")
    name, _, about = (part.strip() for part in title.partition("|"))
    head, *cells = re.split(r"^# %%[ ]*\n", body, flags=re.M)
    if not cells:
        raise ValueError(f"{theme}.txt: {name}: no cells")
    *cells, last = cells
    last, *data = re.split(r"^\+\+\+ ", last, flags=re.M)
    headers = _headers(f"{theme}.txt: {name}", head)
    files = {d.partition("\n")[0].strip(): d.partition("\n")[2].rstrip("\n") + "\n" for d in data}
    case = Case(
        name=name,
        about=about,
        theme=theme,
        cells=tuple(c.rstrip("\n") for c in [*cells, last]),
        needs=_pairs(headers["needs"], "->"),
        order=_pairs(headers["order"], "->"),
        may=_pairs(headers["may"], "->"),
        free=_pairs(headers["free"], "|"),
        tags={int(k): tuple(v.split(",")) for k, v in (t.split("=") for t in headers["tags"].split())},
        files=files,
    )
    _check(case)
    return case


def _headers(where: str, text: str) -> dict[str, str]:
    found = dict.fromkeys(_HEADERS, "")
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if line.strip() and (not colon or key not in found):
            raise ValueError(f"{where}: {line!r} is none of {', '.join(_HEADERS)}")
        if line.strip():
            found[key] = value.strip()
    return found


def _pairs(text: str, sign: str) -> frozenset[Pair]:
    found = (word.split(sign) for word in text.split())
    return frozenset((int(a), int(b)) for a, b in found)


def _check(case: Case) -> None:
    pairs = case.needs | case.order | case.may | case.free
    wrong = {p for p in pairs if not 0 <= p[0] < p[1] < len(case.cells)}
    if wrong:
        raise ValueError(f"{case.theme}.txt: {case.name}: no such pairs of cells: {sorted(wrong)}")
    both = case.free & closure(case.needs | case.order | case.may)
    if both:
        raise ValueError(f"{case.theme}.txt: {case.name}: both free and ordered: {sorted(both)}")
