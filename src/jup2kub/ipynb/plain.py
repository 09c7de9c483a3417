"""Notebooks of which it can be seen at once that they follow format 4.5: nearly all of them.

What is not plain is not wrong: nbformat decides about it, by the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TAG = re.compile(r"[^,\n]+")
_DOCUMENT = frozenset({"metadata", "nbformat", "nbformat_minor", "cells"})
_CELL = frozenset({"id", "cell_type", "metadata", "source"})
_CODE = _CELL | {"outputs", "execution_count"}
_OF_NOTEBOOK = frozenset({"orig_nbformat", "title", "authors"})
_OF_CELL = frozenset({"format", "jupyter", "execution", "collapsed", "scrolled", "name", "attachments"})
"""Metadata that the schema says something about, and that few notebooks have; tags are looked at."""
_KERNELSPEC = ("name", "display_name")
_LANGUAGE = ("name", "file_extension", "mimetype", "pygments_lexer")


def is_plain(document: Mapping[str, Any]) -> bool:
    """Whether a dictionary, read from JSON, is a notebook of format 4.5 without outputs beyond all doubt."""
    minor = document.get("nbformat_minor")
    return (
        document.keys() == _DOCUMENT
        and document["nbformat"] == 4
        and type(minor) is int
        and minor == 5
        and _plain_metadata(document["metadata"])
        and isinstance(document["cells"], list)
        and all(_plain_cell(cell) for cell in document["cells"])
    )


def _plain_metadata(metadata: Any) -> bool:
    if not isinstance(metadata, dict) or metadata.keys() & _OF_NOTEBOOK:
        return False
    spec, language = metadata.get("kernelspec"), metadata.get("language_info")
    if "kernelspec" in metadata and not (
        isinstance(spec, dict) and _texts(spec, _KERNELSPEC, all_there=True)
    ):
        return False
    if "language_info" not in metadata:
        return True
    return (
        isinstance(language, dict)
        and "name" in language
        and _texts(language, _LANGUAGE)
        and isinstance(language.get("codemirror_mode", ""), (str, dict))
    )


def _texts(found: Mapping[str, Any], names: tuple[str, ...], *, all_there: bool = False) -> bool:
    return all(isinstance(found.get(n), str) if n in found else not all_there for n in names)


def _plain_cell(cell: Any) -> bool:
    if not isinstance(cell, dict):
        return False
    code = cell.get("cell_type") == "code"
    return (
        cell.keys() == (_CODE if code else _CELL)
        and cell["cell_type"] in ("code", "markdown", "raw")
        and isinstance(cell["source"], str)
        and isinstance(cell["id"], str)
        and _ID.fullmatch(cell["id"]) is not None
        and isinstance(cell["metadata"], dict)
        and not cell["metadata"].keys() & _OF_CELL
        and _plain_tags(cell["metadata"].get("tags", []))
        and (not code or (cell["outputs"] == [] and cell["execution_count"] is None))
    )


def _plain_tags(tags: Any) -> bool:
    return (
        isinstance(tags, list)
        and all(isinstance(tag, str) and _TAG.fullmatch(tag) is not None for tag in tags)
        and len(set(tags)) == len(tags)
    )
