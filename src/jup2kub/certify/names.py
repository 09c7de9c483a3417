"""Files whose names are made anew in every execution, like those of `tempfile`: matched by what their names share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Files = Mapping[str, str | None]


def aligned(three: Sequence[Files]) -> list[dict[str, str | None]]:
    """Return the files of the three executions, one that each calls otherwise under one name: `/tmp/*/0.npy`.

    Looked at are names that one execution alone has. Parts of the path that all three use stay, others become `*`; the
    files of one such pattern are matched in the order of their names, if every execution has as many. What finds no
    match keeps its name: it is a difference.
    """
    single = [sorted(name for name in one if sum(name in other for other in three) == 1) for one in three]
    parts = [{part for name in names for part in name.split("/")} for names in single]
    common = set.intersection(*parts)
    found = [dict(one) for one in three]
    patterns = [[_pattern(name, common) for name in names] for names in single]
    for pattern in sorted({p for one in patterns for p in one}):
        alike = [
            [n for n, p in zip(names, shapes, strict=True) if p == pattern]
            for names, shapes in zip(single, patterns, strict=True)
        ]
        if "*" not in pattern.split("/") or len({len(names) for names in alike}) != 1:
            continue
        for files, names in zip(found, alike, strict=True):
            for number, name in enumerate(names):
                files[f"{pattern} ({number + 1})" if len(names) > 1 else pattern] = files.pop(name)
    return found


def _pattern(name: str, common: set[str]) -> str:
    return "/".join(part if part in common else "*" for part in name.split("/"))
