"""Distributions that no wheel on an index is: what they are, and which files of them travel."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jup2kub.capture import secrets
from jup2kub.capture.declared import clean
from jup2kub.capture.environment import Installed, Module
from jup2kub.capture.wheels import OWN_FILES, edited, file_sha256
from jup2kub.errors import EnvironmentProblem
from jup2kub.model.env import CONDA, EDITABLE, EDITED, INSTALLED, UNOWNED, VCS, Carried, CarriedFile

SKIPPED = frozenset(
    ("__pycache__", ".git", ".hg", ".svn", ".tox", ".venv", "node_modules", ".ipynb_checkpoints")
)
SHOWN = 5
"""Files that a reason names."""
SCANNED = frozenset((EDITABLE, VCS, UNOWNED, EDITED))
"""Kinds that may hold what was never public."""


def kind_of(dist: Installed) -> tuple[str, str]:
    """Return kind and reason if the distribution is to be carried; ("", "") if a wheel may be had."""
    if dist.installer == "conda":
        return CONDA, f"conda installed {dist.name} {dist.version}"
    url = dist.direct_url or {}
    if not dist.files and os.path.realpath(dist.site) in map(
        os.path.dirname, map(os.path.realpath, dist.editable.values())
    ):
        return INSTALLED, "which files are its own is not recorded: those of its modules travel"
    if (url.get("dir_info") or {}).get("editable") or dist.editable:
        return EDITABLE, "installed in editable mode: its files are those of its source folder now"
    if url.get("vcs_info"):
        vcs = url["vcs_info"]
        return VCS, f"installed from {vcs.get('vcs')}+{clean(url['url'])} at commit {vcs.get('commit_id')}"
    if url:
        where = "a folder or file of this machine" if url["url"].startswith("file:") else clean(url["url"])
        return VCS, f"installed from {where}, not from an index"
    differing = edited(dist)
    if differing:
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        return EDITED, f"not what was installed: {', '.join(differing[:SHOWN])}{more} differ from its RECORD"
    if not dist.files:
        return INSTALLED, "its files are not recorded"
    return "", ""


def carry(dist: Installed, kind: str, reason: str, values: Iterable[bytes] = ()) -> Carried:
    """Return the distribution as the files that it is. `values`: secrets that must not be in them.

    Raises UsageError J2K680 if one of them holds a secret, EnvironmentProblem J2K656 if it is not known which they are.
    """
    pairs = list(_editable_files(dist) if dist.editable else _recorded_files(dist))
    if dist.editable or not dist.files:
        pairs += _metadata(dist)
    files = _entries(pairs)
    if not files:
        raise EnvironmentProblem(
            "J2K656",
            f"which files {dist.name} {dist.version} consists of is not known ({dist.folder or dist.site})",
            f"install it anew with pip: `pip install --force-reinstall {dist.name}=={dist.version}`",
        )
    if kind in SCANNED:
        changed = set(edited(dist)) if kind == EDITED else None
        values = tuple(values)
        for file in files:
            if changed is None or file.target in changed:
                secrets.refuse(secrets.in_file(Path(file.source), f"{dist.name}: {file.target}", values))
    return Carried(dist.name, dist.version, kind, reason, files, imports=dist.imports, licence=dist.licence)


def unowned(name: str, module: Module, values: Iterable[bytes] = ()) -> Carried:
    """Return a module that lies on the path, but belongs to no distribution. Raises UsageError J2K680."""
    origin = Path(module.origin) if module.origin else None
    roots = [Path(p) for p in module.places] or ([origin] if origin is not None else [])
    pairs = [pair for root in roots for pair in _tree(name if root.is_dir() else root.name, root)]
    files = _entries(pairs)
    values = tuple(values)
    for file in files:
        secrets.refuse(secrets.in_file(Path(file.source), file.target, values))
    reason = "a module on the path that no distribution owns: it travels as it is, without a version"
    return Carried(name, "0", UNOWNED, reason, files, imports=(name,))


def _entries(pairs: Iterable[tuple[str, Path]]) -> tuple[CarriedFile, ...]:
    found = {target: path for target, path in pairs if path.is_file()}
    return tuple(
        CarriedFile(target, str(path), file_sha256(path), path.stat().st_size)
        for target, path in sorted(found.items())
    )


def _recorded_files(dist: Installed) -> Iterator[tuple[str, Path]]:
    for name, _, _ in dist.files:
        own = name.rpartition("/")[2] in OWN_FILES and ".dist-info/" in name
        if not own and not name.startswith(("..", "/")) and not name.endswith(".pyc"):
            yield name, Path(dist.site, name)


def _editable_files(dist: Installed) -> Iterator[tuple[str, Path]]:
    for name, place in dist.editable.items():
        path = Path(place)
        yield from _tree(name if path.is_dir() else path.name, path)


def _metadata(dist: Installed) -> Iterator[tuple[str, Path]]:
    folder = Path(dist.folder)
    if folder.suffix == ".dist-info" and folder.is_dir():
        for name in ("METADATA", "entry_points.txt", "top_level.txt", "WHEEL"):
            yield f"{folder.name}/{name}", folder / name


def _tree(target: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package, or the one file of a module, without caches and hidden files."""
    if not root.is_dir():
        yield target, root
        return
    for place, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("."))
        inner = Path(place).relative_to(root)
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                yield (Path(target) / inner / name).as_posix(), Path(place, name)
