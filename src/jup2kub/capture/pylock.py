"""The lock in the words of PEP 751 (`pylock.toml`): what pip and uv can install as well."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jup2kub.kit.canon import digest, to_json
from jup2kub.model.env import EDITABLE, VCS, Carried, Lock, Wheel, travelling

FILE_NAME = re.compile(r"^pylock\.([^.]+\.)?toml$")
"""What tools look for (PEP 751, “File Name”)."""


def text(lock: Lock, folder: Path, path_of: Callable[[Wheel], Path]) -> str:
    """Return the file's text, the same for the same lock. `folder`: where the file will lie.

    `path_of` gives the place of a wheel whose URL is not known. What the format cannot say (files of edited or built
    distributions) stands under `tool.jup2kub.carried`, and in a comment at the top.
    """
    unsaid = [c for c in lock.carried if not _source(c)]
    lines = ["# What runs the notebook, with hashes (PEP 751). Made by `jup2kub lock`."]
    lines += [f"# Not in this file, for no wheel is it: {c.name} {c.version} ({c.kind})" for c in unsaid]
    lines += [
        'lock-version = "1.0"',
        f"environments = [{_string(_marker(lock))}]",
        f'requires-python = "=={lock.python.minor}.*"',
        'created-by = "jup2kub"',
    ]
    entries: list[tuple[str, list[str]]] = [(w.name, _wheel(w, lock, folder, path_of)) for w in lock.wheels]
    entries += [(c.name, _carried(c)) for c in lock.carried if _source(c)]
    for _, entry in sorted(entries):
        lines += ["", *entry]
    lines += ["", "[tool.jup2kub]", f"digest = {_string(lock_digest(lock))}"]
    lines += [f"python = {_string(lock.python.version)}", f"libc = {_string(lock.platform.libc)}"]
    lines.append(f"declared = {_array(lock.declared)}")
    for c in lock.carried:
        lines += [
            "",
            "[[tool.jup2kub.carried]]",
            f"name = {_string(c.name)}",
            f"version = {_string(c.version)}",
        ]
        lines += [f"kind = {_string(c.kind)}", f"reason = {_string(c.reason)}"]
        lines.append(f"files-sha256 = {_string(files_digest(c))}")
    for m in lock.modules:
        lines += [
            "",
            "[[tool.jup2kub.modules]]",
            f"path = {_string(m.path)}",
            f"sha256 = {_string(m.sha256)}",
        ]
    return "\n".join([*lines, ""])


def lock_digest(lock: Lock) -> str:
    """Return the digest of what is built from the lock: neither reasons, notes nor paths of a machine."""
    return digest(
        to_json(
            {
                "python": [lock.python.version, lock.python.implementation],
                "platform": lock.platform,
                "wheels": [[w.name, w.version, w.sha256] for w in lock.wheels],
                "carried": [[c.name, c.version, c.kind, files_digest(c)] for c in lock.carried],
                "modules": [[m.path, m.sha256] for m in lock.modules],
            }
        )
    )


def files_digest(carried: Carried) -> str:
    """Return one digest for all files of a carried distribution."""
    return digest([[f.target, f.sha256] for f in carried.files])


def as_json(lock: Lock) -> dict[str, Any]:
    """Return the lock as other programs read it, without paths of this machine."""
    document: dict[str, Any] = to_json(travelling(lock))
    document["digest"] = lock_digest(lock)
    return document


def _marker(lock: Lock) -> str:
    return (
        f"sys_platform == '{lock.platform.system}' and platform_machine == '{lock.platform.machine}' and "
        f"implementation_name == '{lock.python.implementation}' and python_version == '{lock.python.minor}'"
    )


def _wheel(wheel: Wheel, lock: Lock, folder: Path, path_of: Callable[[Wheel], Path]) -> list[str]:
    if wheel.url:
        place = f"url = {_string(wheel.url)}"
    else:
        place = f"path = {_string(Path(os.path.relpath(path_of(wheel), folder)).as_posix())}"
    parts = [
        f"name = {_string(wheel.filename)}",
        place,
        f"size = {wheel.bytes}",
        f"hashes = {{sha256 = {_string(wheel.sha256)}}}",
    ]
    listed = {w.name for w in lock.wheels} | {c.name for c in lock.carried if _source(c)}
    return [
        *_head(wheel.name, wheel.version, [r for r in wheel.requires if r in listed]),
        f"wheels = [{{{', '.join(parts)}}}]",
        "[packages.tool.jup2kub]",
        f"why = {_array(wheel.why)}",
    ]


def _carried(carried: Carried) -> list[str]:
    lines = _head(carried.name, carried.version if carried.kind != EDITABLE else "", ())
    return [*lines, f"vcs = {{{', '.join(f'{key} = {value}' for key, value in _source(carried).items())}}}"]


def _source(carried: Carried) -> Mapping[str, str]:
    """Return the PEP's table `vcs`; {} if that cannot say where the distribution is from."""
    found = re.search(r"from (\w+)\+(\S+) at commit (\w+)", carried.reason)
    if carried.kind == VCS and found:
        return {"type": _string(found[1]), "url": _string(found[2]), "commit-id": _string(found[3])}
    return {}


def _head(name: str, version: str, requires: Iterable[str]) -> list[str]:
    lines = ["[[packages]]", f"name = {_string(name)}"]
    lines += [f"version = {_string(version)}"] if version else []
    needed = ", ".join(f"{{name = {_string(r)}}}" for r in requires)
    return [*lines, f"dependencies = [{needed}]"] if needed else lines


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_string, values)) + "]"


def _string(value: str) -> str:
    """Return a TOML basic string (TOML 1.0, “String”)."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"'
        + "".join(escapes.get(c) or (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in value)
        + '"'
    )
