"""Profile keys: by what a cell's observed facts are found again."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from jup2kub.kit.canon import digest
from jup2kub.model.flow import FlowGraph, Names
from jup2kub.model.notebook import Cell, Notebook


@dataclass
class History:
    """The definitions seen so far; `add` gives each cell's key in notebook order."""

    owner: dict[str, int] = field(default_factory=dict)
    """Definition -> the last cell that makes it."""
    sources: dict[int, str] = field(default_factory=dict)
    names: dict[int, Names] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, cell: Cell, tree: ast.Module | None, definitions: Names) -> str:
        """Return the cell's key: its source, the definitions it may call (transitively), and its occurrence."""
        used = (
            frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))
            if tree is not None
            else frozenset()
        )
        seen: set[int] = set()
        todo = [self.owner[n] for n in used if n in self.owner]
        while todo:
            index = todo.pop()
            if index not in seen:
                seen.add(index)
                todo += [self.owner[n] for n in self.names[index] if n in self.owner]
        text = digest([cell.source, [self.sources[i] for i in sorted(seen)]])
        self.count[text] = self.count.get(text, 0) + 1
        self.sources[cell.index] = cell.source
        self.names[cell.index] = used
        self.owner.update(dict.fromkeys(definitions, cell.index))
        return digest([text, self.count[text]])


def profile_keys(notebook: Notebook, graph: FlowGraph) -> dict[int, str]:
    """Return for every code cell of the graph the key of its facts in the profile (64 hexadecimal digits)."""
    history = History()
    found = {}
    for cell in notebook.code:
        try:
            tree = ast.parse(cell.python) if cell.python is not None else None
        except (SyntaxError, ValueError):
            tree = None
        found[cell.index] = history.add(cell, tree, graph.cells[cell.index].definitions)
    return found
