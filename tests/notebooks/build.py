"""Builds the notebooks and the data they read: `python -m tests.notebooks.build OUTDIR`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from .data import write_data

SCRIPTS = Path(__file__).parent / "scripts"


def names() -> list[str]:
    """Return the names of all notebooks."""
    return sorted(path.stem for path in SCRIPTS.glob("*.py"))


def notebook(text: str) -> dict[str, Any]:
    """Return a percent script as an nbformat 4.5 dictionary without outputs.

    Cells begin with `# %%`, `# %% [markdown]` or `# %% tags=["raises-exception"]`.
    """
    cells = []
    for number, block in enumerate(re.split(r"^# %%", text, flags=re.M)[1:]):
        title, _, body = block.partition("\n")
        body = body.strip("\n")
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "cell_type": "code", "source": body}
        if title.strip() == "[markdown]":
            cell.update(cell_type="markdown", source=re.sub(r"^# ?", "", body, flags=re.M))
        else:
            cell.update(execution_count=None, outputs=[])
            if title.strip().startswith("tags="):
                cell["metadata"]["tags"] = json.loads(title.strip()[5:])
        cells.append(cell)
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
        },
        "cells": cells,
    }


def build(folder: Path, wanted: list[str] | None = None) -> list[Path]:
    """Write notebooks (None: all) and the data they need into `folder`; return the notebooks' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    write_data(folder)
    paths = []
    for name in wanted or names():
        path = folder / f"{name}.ipynb"
        path.write_text(json.dumps(notebook((SCRIPTS / f"{name}.py").read_text()), indent=1))
        paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.notebooks.build OUTDIR")
    build(Path(sys.argv[1]))
