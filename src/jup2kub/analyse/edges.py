"""From what cells read and write to the edges that truly order them."""

from __future__ import annotations

from collections.abc import Mapping

from jup2kub.analyse.hazards import rule_of
from jup2kub.kit.paths import ANY, overlap
from jup2kub.model.flow import CellFlow, Edge


def edges(cells: Mapping[int, CellFlow], depends_on_all: Mapping[int, str]) -> tuple[Edge, ...]:
    """Return the edges between cells, in order of target, source and name, without those a barrier implies.

    `depends_on_all`: cells that follow every earlier one, and the name that nothing defines.
    """
    found: dict[tuple[int, int], Edge] = {}

    def add(source: int, target: int, rule: str, name: str) -> None:
        if source < target:
            found.setdefault((source, target), Edge(source, target, rule, name))

    writers: dict[str, list[int]] = {}
    order = list(cells)
    moved = any("@cwd" in c.writes for c in cells.values())
    fence, open_since = -1, 0
    files: list[tuple[int, CellFlow]] = []
    for place, index in enumerate(order):
        cell = cells[index]
        if fence >= 0:
            add(order[fence], index, "J2K150", cells[order[fence]].barrier or "")
        for name in sorted(cell.reads):
            if name in writers:
                source = writers[name][-1]
                add(source, index, rule_of(name, cells[source]), name)
        if cell.barrier is not None or index in depends_on_all:
            rule, name = (
                ("J2K150", cell.barrier) if cell.barrier is not None else ("J2K151", depends_on_all[index])
            )
            for earlier in order[max(open_since, 0) : place]:
                add(earlier, index, rule, name or "")
            open_since = place
        if cell.barrier is not None:
            fence = place
        _file_edges(cell, files, moved, add)
        for name in cell.writes:
            writers.setdefault(name, []).append(index)
    return tuple(sorted(found.values(), key=lambda e: (e.target, e.source, e.rule, e.name)))


def _file_edges(cell: CellFlow, files: list[tuple[int, CellFlow]], moved: bool, add) -> None:  # type: ignore[no-untyped-def]
    """Keep read after write, write after read and write after write on paths that may be one file."""
    if not cell.file_reads and not cell.file_writes:
        return
    for source, earlier in reversed(files):
        path = _conflict(cell, earlier, moved)
        if path is not None:
            add(source, cell.index, "J2K130", f"@file:{path}")
        if ANY in earlier.file_writes:
            break
    files.append((cell.index, cell))


def _conflict(cell: CellFlow, earlier: CellFlow, moved: bool) -> str | None:
    for mine, theirs in (
        (cell.file_reads, earlier.file_writes),
        (cell.file_writes, earlier.file_writes),
        (cell.file_writes, earlier.file_reads),
    ):
        for one in mine:
            for other in theirs:
                if overlap(one, other, moved):
                    return other if one == ANY else one
    return None
