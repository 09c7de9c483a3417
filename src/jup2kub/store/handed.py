"""What a store that is not on this disk checks of a file before it takes it over."""

from __future__ import annotations

import hashlib
from pathlib import Path

from jup2kub.errors import StoreProblem


def established(path: Path, sha256: str | None, size: int | None, trusted: bool) -> tuple[str, int]:
    """Return the file's sha256 and bytes; not read if the writer is `trusted` to have digested it.

    Raises StoreProblem (J2K511) if it is not the regular file that its writer said.
    """
    if path.is_symlink():
        raise StoreProblem("J2K511", f"{path} is a symbolic link, not a file")
    found = path.stat().st_size
    if size not in (None, found):
        raise StoreProblem("J2K511", f"{path} has {found} bytes where its writer said {size}")
    if sha256 is None or not trusted:
        seen = digest_of(path)
        if sha256 not in (None, seen):
            raise StoreProblem("J2K511", f"{path} is not what its writer said")
        sha256 = seen
    return sha256, found


def digest_of(path: Path) -> str:
    """Return the file's sha256."""
    seen = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            seen.update(block)
    return seen.hexdigest()
