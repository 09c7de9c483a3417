"""What a cell was seen to depend on outside the notebook, kept with its record and looked at again before a reuse."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jup2kub.agent.keys import PASSING, stable_digest
from jup2kub.kit.canon import digest
from jup2kub.model.facts import Facts

HASHED = 64 << 20
"""Bytes; a larger input file is known by size, time and inode only."""


def file_digest(path: Path) -> str | None:
    """Return the sha256 of a file, or None if it cannot be read."""
    seen = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                seen.update(block)
    except OSError:
        return None
    return seen.hexdigest()


def _state(path: Path) -> dict[str, Any] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    if not path.is_file():
        return {"listing": sorted(os.listdir(path))} if path.is_dir() else {"other": stat.st_mode}
    return {"bytes": stat.st_size, "mtime": stat.st_mtime_ns, "inode": stat.st_ino}


def observe(facts: Facts, project: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the state of every file, absence and environment variable that the cell was seen to read.

    Files that the cell itself wrote are left out: they are its result.
    """
    files: dict[str, Any] = {}
    for name in facts.files_read:
        if name in facts.files_written:
            continue
        state = _state(project / name)
        if state and "bytes" in state and state["bytes"] <= HASHED:
            state["sha256"] = file_digest(project / name)
        files[name] = state
    return {
        "files": files,
        "absent": sorted(facts.absent),
        "env": {name: _variable(name, environ) for name in facts.env_read if name not in PASSING},
    }


def met(observed: Mapping[str, Any], token: str | None) -> str:
    """Return a digest of what was observed, by content; empty = nothing. `token`: of an execution that would not repeat."""
    files = {name: (state or {}).get("sha256") or state for name, state in observed.get("files", {}).items()}
    env, absent = observed.get("env", {}), observed.get("absent", [])
    return digest([files, env, absent, token]) if files or env or absent or token else ""


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    """Return a digest of the variable's value, None if it is not set; of the whole environment for `*`."""
    if name == "*":
        return stable_digest(environ)
    value = environ.get(name)
    return None if value is None else hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def still(observed: Mapping[str, Any], project: Path, environ: Mapping[str, str]) -> bool:
    """Return whether everything observed is as it was."""
    for name, before in observed.get("files", {}).items():
        now = _state(project / name)
        if now == {k: v for k, v in (before or {}).items() if k != "sha256"} or (
            now is None and before is None
        ):
            continue
        if now is None or before is None or not before.get("sha256"):
            return False
        if now.get("bytes") != before["bytes"] or file_digest(project / name) != before["sha256"]:
            return False
    if any((project / name).exists() for name in observed.get("absent", ())):
        return False
    return all(_variable(name, environ) == value for name, value in observed.get("env", {}).items())
