"""Scripts in the percent format (`# %%`), as jupytext, Spyder and VS Code write them, to nbformat dictionaries."""

from __future__ import annotations

import json
import re
from typing import Any

from .data import FOREIGN_MAGICS

_MARKER = re.compile(r"#[ \t]*%%(%*)(?:[ \t]+(.*)|[ \t]*)$|#[ \t]*<(?:codecell|markdowncell)>[ \t]*$")
_PROMPT = re.compile(r"#[ \t]*In\[[ \d]*\]:?[ \t]*$")
_KIND = re.compile(r"\[(markdown|md|raw|code)\]", re.IGNORECASE)
_KEY = re.compile(r"(?:^|\s)([\w.-]+)=")
_OURS = re.compile(r"\b(?:tags|jup2kub)=")
# One level of `#` protects a magic, two an ordinary comment that looks like one.
_MAGIC = re.compile(r"#[ \t]?(?:#[ \t]?)?(?:%{1,2}[A-Za-z]|[!?][ \t]*[\w.~$\\/{}]|[^\s#]\S*\?[ \t]*$)")
_CODING = re.compile(r"#!|#.*coding[:=]")


def has_cells(text: str) -> bool:
    """Tell whether a text holds at least one cell marker."""
    return any(_MARKER.match(line) or _PROMPT.match(line) for line in text.splitlines())


def to_document(text: str, language: str) -> dict[str, Any]:
    """Return the nbformat 4.5 dictionary of a percent script; cells carry no ids.

    A script without any marker is one cell. Raises ValueError if the options of a marker cannot be read.
    """
    lines = text.splitlines()
    header, start = _header(lines)
    cells: list[dict[str, Any]] = []
    kind, metadata, body = "code", {}, []  # type: str, dict[str, Any], list[str]
    explicit = False
    for number, line in enumerate(lines[start:], start + 1):
        found, prompt = _MARKER.match(line), _PROMPT.match(line)
        if not found and not prompt:
            body.append(line)
            continue
        _finish(cells, kind, metadata, body, explicit)
        explicit, body = True, []
        kind, metadata = _marker(found[2] or "", number) if found else ("code", {})
        if found and "markdowncell" in line:
            kind = "markdown"
    _finish(cells, kind, metadata, body, explicit)
    spec = header.get("kernelspec", {})
    notebook: dict[str, Any] = {"language_info": {"name": spec.get("language") or language}}
    if spec.get("name"):
        notebook["kernelspec"] = {"display_name": spec["name"], "language": language, **spec}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": notebook, "cells": cells}


def _header(lines: list[str]) -> tuple[dict[str, dict[str, str]], int]:
    """Return the `jupyter:` sections of the YAML header, one level deep, and the line after it."""
    start = 0
    while start < len(lines) and (_CODING.match(lines[start]) or not lines[start].strip()):
        start += 1
    if start == len(lines) or lines[start].rstrip() != "# ---":
        # An encoding line says nothing in a notebook, but what else stands before the first marker is a cell.
        return {}, start
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if line.rstrip() == "# ---":
            return sections, number + 1
        if not line.startswith("#"):
            break
        found = re.fullmatch(r"#([ \t]*)([\w-]+):[ \t]*(.*?)[ \t]*", line)
        if found and len(found[1]) == 3:
            section = sections.setdefault(found[2], {})
        elif found and len(found[1]) == 5 and found[3]:
            section[found[2]] = found[3].strip("\"'")
    return {}, start


def _marker(options: str, number: int) -> tuple[str, dict[str, Any]]:
    kind = "code"
    found = _KIND.search(options)
    first_key = _KEY.search(options)
    if found and (first_key is None or found.start() < first_key.start()):
        kind = {"md": "markdown"}.get(found[1].lower(), found[1].lower())
        options = options[: found.start()] + options[found.end() :]
    options = options.strip()
    brace, first = re.search(r"\{.*\}$", options), _KEY.search(options)
    start = min((found.start() for found in (brace, first) if found), default=len(options))
    title, rest = options[:start].strip(), options[start:].strip()
    try:
        metadata = json.loads(rest) if rest.startswith("{") else _keys(rest)
    except json.JSONDecodeError as error:
        if _OURS.search(rest):
            raise ValueError(
                f"line {number}: the options of the cell marker cannot be read: {options}"
            ) from error
        title, metadata = options, {}  # a title may hold an equation
    if title:
        metadata.setdefault("title", title)
    return kind, metadata


def _keys(text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        found = _KEY.match(text)
        if not found:
            raise json.JSONDecodeError("key=value is wanted", text, 0)
        value, end = decoder.raw_decode(text, found.end())
        metadata[found[1]] = value
        text = text[end:].lstrip(" \t,")
    return metadata


def _finish(
    cells: list[dict[str, Any]], kind: str, metadata: dict[str, Any], body: list[str], explicit: bool
) -> None:
    while body and not body[-1].strip():
        body = body[:-1]
    if not explicit and not body:
        return
    if kind == "code":
        source = "\n".join(_magics(body, metadata))
        cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    else:
        source = "\n".join(_prose(body))
        cell = {"cell_type": kind}
    cells.append({**cell, "metadata": metadata, "source": source})


def _prose(body: list[str]) -> list[str]:
    text = "\n".join(body).strip()
    for quotes in ('"""', "'''"):
        for opening in (quotes, "r" + quotes):
            if text.startswith(opening) and text.endswith(quotes) and len(text) >= len(opening) + 3:
                return text[len(opening) : -3].strip("\n").split("\n")
    return [re.sub(r"^#[ \t]?", "", line) for line in body]


def _magics(body: list[str], metadata: dict[str, Any]) -> list[str]:
    """Bring back magics, which scripts hold as comments so that they stay valid Python."""
    language = metadata.pop("language", None)
    if language:
        arguments = metadata.pop("magic_args", "")
        return [f"%%{language} {arguments}".rstrip(), *_uncomment(body)]
    first = next((line for line in body if line.strip() and not line.startswith("#|")), "")
    magic = re.match(r"#[ \t]?%%(\w+)", first)
    if magic and magic[1].lower() in FOREIGN_MAGICS:
        rest = [line for line in body if line.strip()]
        if all(line.startswith("#") for line in rest):
            return _uncomment(body)
    return [
        re.sub(r"^([ \t]*)#[ \t]?", r"\1", line) if _MAGIC.match(line.lstrip()) else line for line in body
    ]


def _uncomment(body: list[str]) -> list[str]:
    return [line if line.startswith("#|") else re.sub(r"^#[ \t]?", "", line) for line in body]
