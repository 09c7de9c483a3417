"""Runs one part of a notebook, inside a pack: `python run_part.py NOTEBOOK.ipynb PART.ipynb`.

The earlier cells that the part needs (its metadata name them) are run first, and what they print is discarded. Exit code
1 if a cell raises. Python >= 3.9, the standard library and IPython only; imports nothing of ours.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


def source_of(cell: Any) -> str:
    """Return the text of a cell, which files keep as a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def load(path: str) -> Any:
    """Return a notebook's document."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main(notebook: str, part: str) -> int:
    """Run the part; return the exit code."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    os.environ.setdefault("MPLBACKEND", "Agg")
    # As in a kernel: modules beside the notebook come first.
    sys.path.insert(0, "")
    whole, own = load(notebook), load(part)
    for index in own["metadata"]["jup2kub"]["part"]["needs"]:
        hidden = io.StringIO()
        with contextlib.redirect_stdout(hidden):
            result = shell.run_cell(source_of(whole["cells"][index]), store_history=False)
        if not result.success:
            sys.stderr.write(f"cell {index}, which the part needs, raised\n{hidden.getvalue()}")
            return 1
    for cell in own["cells"]:
        if cell["cell_type"] == "code" and source_of(cell).strip():
            result = shell.run_cell(source_of(cell), store_history=True)
            if not result.success and "raises-exception" not in cell["metadata"].get("tags", ()):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
