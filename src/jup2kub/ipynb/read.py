"""Bytes of a notebook or of a percent script to a `Notebook`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from jup2kub.errors import UsageError
from jup2kub.kit.canon import digest
from jup2kub.model.notebook import Cell, Notebook, Options

from . import percent, plain
from .data import KERNEL_LANGUAGES, SCRIPT_LANGUAGES
from .options import read_options
from .syntax import to_python

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character that JSON writes as two: no text."""
_NEWEST = 4
_OPEN = "open it in Jupyter and save it again, or check that this is the file you meant"


def read(data: bytes, name: str) -> Notebook:
    """Return the notebook in `data`; `name` is its file name, for messages and to tell scripts.

    Older formats are upgraded, cell ids that are missing or not valid are made from the text, outputs are dropped.
    Raises UsageError J2K200–J2K206 if it is no notebook, J2K210–J2K213 for options that cannot be read.
    """
    return from_document(_document(_text(data, name), name))


def from_document(document: Mapping[str, Any]) -> Notebook:
    """Return the notebook of a valid nbformat 4.5 dictionary; raises UsageError J2K210–J2K213 for its options."""
    metadata = document["metadata"]
    kernelspec = metadata.get("kernelspec") or {}
    kernel = str(kernelspec.get("name") or "")
    language = _language(metadata, kernel)
    cells = tuple(_cell(index, cell, language) for index, cell in enumerate(document["cells"]))
    return Notebook(cells=cells, kernel=kernel, language=language, document=document)


def give_ids(cells: list[dict[str, Any]]) -> None:
    """Give every cell whose id is missing, not valid or taken one that depends on its text alone."""
    taken: set[str] = set()
    wanting = []
    for cell in cells:
        if isinstance(cell.get("id"), str) and _ID.fullmatch(cell["id"]) and cell["id"] not in taken:
            taken.add(cell["id"])
        else:
            wanting.append(cell)
    for cell in wanting:
        turn = 0
        while (made := digest([cell["cell_type"], cell["source"], turn])[:8]) in taken:
            turn += 1
        cell["id"] = made
        taken.add(made)


def _cell(index: int, cell: Mapping[str, Any], language: str) -> Cell:
    source, metadata, kind = str(cell["source"]), cell["metadata"], str(cell["cell_type"])
    python = language == "python"
    options = read_options(index, source, metadata, python=python) if kind == "code" else Options()
    return Cell(
        index=index,
        id=str(cell["id"]),
        kind=kind,
        source=source,
        tags=frozenset(str(tag) for tag in metadata.get("tags") or ()),
        options=options,
        python=to_python(source) if kind == "code" and python else None,
    )


def _language(metadata: Mapping[str, Any], kernel: str) -> str:
    info, spec = metadata.get("language_info") or {}, metadata.get("kernelspec") or {}
    named = str(info.get("name") or spec.get("language") or "")
    if not named:
        name = kernel.lower()
        found = [
            language
            for start, language in KERNEL_LANGUAGES
            if re.match(re.escape(start) + r"(?![a-z])", name)
        ]
        named = found[0] if found else "python"
    return "python" if named.lower() in ("python", "ipython", "python3") else named


def _text(data: bytes, name: str) -> str:
    if not data.strip():
        raise UsageError("J2K200", f"{name} is empty", _OPEN)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("J2K201", f"{name} is not UTF-8 text (byte {error.start})", _OPEN) from error


def _document(text: str, name: str) -> dict[str, Any]:
    suffix = PurePath(name).suffix.lower()
    if suffix in SCRIPT_LANGUAGES or (not text.lstrip().startswith("{") and percent.has_cells(text)):
        try:
            raw: Any = percent.to_document(text, SCRIPT_LANGUAGES.get(suffix, "python"))
        except ValueError as error:
            raise UsageError(
                "J2K206", f"{name}: {error}", 'write for example `# %% tags=["parameters"]`'
            ) from error
    else:
        raw = _json(text, name)
    return _upgrade(raw, name)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        place = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        hint = "a notebook (.ipynb), or a script whose cells begin with `# %%`, is wanted"
        raise UsageError("J2K202", f"{name} is not a notebook: not JSON{place}", hint) from error


def _upgrade(raw: Any, name: str) -> dict[str, Any]:
    major = raw.get("nbformat") if isinstance(raw, dict) else None
    if not isinstance(major, int) or ("cells" not in raw and "worksheets" not in raw):
        raise UsageError("J2K203", f"{name} is JSON, but not a notebook", _OPEN)
    if major > _NEWEST:
        hint = f"save it in format {_NEWEST} (Jupyter: File → Save As), or install a newer nbformat"
        raise UsageError("J2K204", f"{name} has notebook format {major}, which is not known", hint)
    try:
        document = raw if major == _NEWEST else _convert(raw)
        _refuse_halves(document, name)
        document = _tidy(document)
        _validate(document)
    except UsageError:
        raise
    except Exception as error:  # nbformat raises whatever its schema library and converters raise
        message = str(error).strip().split("\n")[0]
        raise UsageError("J2K205", f"{name} does not follow the notebook format: {message}", _OPEN) from error
    return document


def _refuse_halves(document: Mapping[str, Any], name: str) -> None:
    """Refuse cells that no kernel can be sent, and no file can hold. Raises UsageError J2K201."""
    for index, cell in enumerate(document["cells"]):
        half = _HALF.search(str(_joined(cell.get("source", ""))))
        if half:
            raise UsageError(
                "J2K201",
                f"{name}: cell {index} holds half a character (\\u{ord(half[0]):x}), which is no text",
                "remove it in Jupyter; a program that cuts text inside a character leaves such halves",
            )


def _convert(raw: dict[str, Any]) -> dict[str, Any]:
    import nbformat

    library: Any = nbformat  # untyped there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = library.convert(library.from_dict(_without_outputs(raw)), _NEWEST)
    return dict(json.loads(json.dumps(node)))


def _without_outputs(raw: dict[str, Any]) -> dict[str, Any]:
    # Outputs are made again; old ones, often the part that is broken, must not keep a notebook from being read.
    sheets = []
    for sheet in raw.get("worksheets", ()):
        cells = [{**cell, "outputs": []} if "outputs" in cell else cell for cell in sheet.get("cells", ())]
        sheets.append({**sheet, "cells": cells})
    return {**raw, "worksheets": sheets} if sheets else raw


def _tidy(raw: dict[str, Any]) -> dict[str, Any]:
    """Return format 4.5 with what every reader adds silently: joined lines, empty metadata, ids; no outputs."""
    cells = []
    for cell in raw["cells"]:
        tidy = {
            **cell,
            "metadata": dict(cell.get("metadata") or {}),
            "source": _joined(cell.get("source", "")),
        }
        tidy["metadata"].pop("trusted", None)
        if tidy.get("cell_type") == "heading":  # of the first notebooks of format 4
            tidy["cell_type"] = "markdown"
            tidy["source"] = "#" * int(tidy.pop("level", 1)) + " " + tidy["source"]
        if tidy.get("cell_type") == "code":
            tidy.update(outputs=[], execution_count=None)
        else:
            tidy.pop("outputs", None)
            tidy.pop("execution_count", None)
        for bundle in (tidy.get("attachments") or {}).values():
            bundle.update({mime: _joined(data) for mime, data in bundle.items()})
        cells.append(tidy)
    give_ids(cells)
    metadata = {k: v for k, v in (raw.get("metadata") or {}).items() if not k.startswith("orig_nbformat")}
    metadata.pop("signature", None)
    minor = raw.get("nbformat_minor")
    minor = max(5, minor) if isinstance(minor, int) and raw["nbformat"] == _NEWEST else 5
    return {"nbformat": _NEWEST, "nbformat_minor": minor, "metadata": metadata, "cells": cells}


def _joined(text: Any) -> Any:
    return "".join(text) if isinstance(text, list) and all(isinstance(part, str) for part in text) else text


def _validate(document: dict[str, Any]) -> None:
    if plain.is_plain(document):
        return
    # Takes longer than everything else before the first cell.
    import nbformat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Any key more than the schema's is let through, as Jupyter does.
        nbformat.validate(document, relax_add_props=True)
