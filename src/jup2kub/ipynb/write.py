"""An nbformat dictionary to bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# The mime types that nbformat writes as lists of lines, beside text/*.
_LINES = ("application/javascript", "image/svg+xml")
_SURROGATE = re.compile("[\ud800-\udfff]")


def write(document: Mapping[str, Any]) -> bytes:
    """Return the file that nbformat would write: UTF-8, one space of indentation, sorted keys, lines as lists."""
    cells = [_split_cell(cell) for cell in document["cells"]]
    text = json.dumps({**document, "cells": cells}, ensure_ascii=False, indent=1, sort_keys=True)
    return _escape_surrogates(text + "\n").encode("utf-8")


def _escape_surrogates(text: str) -> str:
    # Kernels may print lone surrogates, which have no UTF-8: they stay as JSON escapes.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _lines(text: Any) -> Any:
    return text.splitlines(True) if isinstance(text, str) else text


def _split_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    split = {**cell, "source": _lines(cell["source"])}
    if "attachments" in cell:
        split["attachments"] = {name: _bundle(bundle) for name, bundle in cell["attachments"].items()}
    if "outputs" in cell:
        split["outputs"] = [_split_output(output) for output in cell["outputs"]]
    return split


def _split_output(output: Mapping[str, Any]) -> dict[str, Any]:
    split = dict(output)
    if "text" in split:
        split["text"] = _lines(split["text"])
    if "data" in split:
        split["data"] = _bundle(split["data"])
    return split


def _bundle(bundle: Mapping[str, Any]) -> dict[str, Any]:
    return {
        mime: _lines(data) if mime.startswith("text/") or mime in _LINES else data
        for mime, data in bundle.items()
    }
