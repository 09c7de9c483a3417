"""The sequential answer: the notebook executed top to bottom by nbclient, and the files it leaves; kept between sessions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from .loader import Case, to_notebook, write_case

UNSTABLE = (".db", ".gz", ".zip", ".png", ".pkl", ".pyc", ".ipynb")
"""Suffixes of files that hold times, versions or addresses."""
_PACKAGES = ("nbclient", "ipykernel", "ipython", "numpy", "pandas", "matplotlib", "scikit-learn")


def answer(case: Case) -> dict[str, Any]:
    """Return {"outputs": [outputs of each cell], "files": {path: digest}} of a run by nbclient, masked.

    It is kept by the text of the case and the versions of the packages, in the folder that JUP2KUB_REFERENCES names, or
    in one of this user's for temporary files.
    """
    versions = [f"{p}={importlib.metadata.version(p)}" for p in _PACKAGES]
    key = json.dumps([to_notebook(case), case.files, sys.version, versions, 2], sort_keys=True)
    named = os.environ.get("JUP2KUB_REFERENCES")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"jup2kub-references-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if not kept.exists():
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(_execute(case)))
        draft.replace(kept)
    return json.loads(kept.read_text())  # type: ignore[no-any-return]


def _execute(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="reference-") as name:
        folder = Path(name)
        notebook = nbformat.read(write_case(case, folder), as_version=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = NotebookClient(
                notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
            )
            client.execute(env={**os.environ, "PYTHONHASHSEED": "0"})
        return {"outputs": outputs(notebook, folder), "files": files(folder)}


def outputs(notebook: Any, folder: Path) -> list[list[Any]]:
    """Return what each cell showed: streams joined per name, then results, displays and errors in order; masked.

    Masked are the folder, memory addresses, process ids in file names, colours and execution counts in tracebacks.
    """
    return [_cell_outputs(cell.get("outputs", []), folder) for cell in notebook["cells"]]


def _cell_outputs(found: list[Any], folder: Path) -> list[Any]:
    streams: dict[str, str] = {}
    rest: list[Any] = []
    for output in found:
        kind = output["output_type"]
        if kind == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + output["text"]
        elif kind == "error":
            rest.append(["error", output["ename"], output["evalue"], "\n".join(output["traceback"])])
        else:
            rest.append([kind, output.get("execution_count"), output["data"], output.get("metadata", {})])
    shown = [["stream", name, text] for name, text in sorted(streams.items())]
    return json.loads(_mask(json.dumps(shown + rest), folder))  # type: ignore[no-any-return]


def _mask(text: str, folder: Path) -> str:
    text = text.replace(str(folder.resolve()), "<folder>").replace(str(folder), "<folder>")
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x…", text)
    text = re.sub(r"ipykernel_\d+", "ipykernel_…", text)
    return re.sub(r"\\u001b\[[0-9;]*m", "", text)


def files(folder: Path) -> dict[str, str]:
    """Return the digest of every file under `folder` by relative path; of those that are never the same, only the name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".ipynb", ".pyc"):
            stable = path.suffix not in UNSTABLE
            found[str(path.relative_to(folder))] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if stable else ""
            )
    return found
