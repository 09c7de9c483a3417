"""Values from a kernel into the store: in one file where that is possible, else by groups that share objects."""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jup2kub.agent.judge import plain
from jup2kub.agent.kernel import Kernel
from jup2kub.agent.room import NOT_KEPT
from jup2kub.agent.session import Session
from jup2kub.kit.graph import Groups
from jup2kub.model.facts import Facts
from jup2kub.model.run import CellOutcome

LONG = 1 << 22
"""Bytes that a disk may take noticeable time for."""


def groups_of(names: list[str], known: Iterable[Iterable[str]]) -> list[list[str]]:
    """Return `names` parted into co-variable groups, given sets of names that may share an object."""
    joined = Groups({n: n for n in names})
    for group in known:
        mine = sorted(set(group) & set(names))
        for name in mine[1:]:
            joined.join(mine[0], name)
    return [sorted(g) for g in joined.members()]


def lasting(stuck: Mapping[str, str]) -> dict[str, str]:
    """Return what can never travel, without what merely found no room."""
    return {name: why for name, why in stuck.items() if why != NOT_KEPT}


async def save(
    session: Session,
    kernel: Kernel,
    names: list[str],
    *,
    known: Iterable[Iterable[str]] = (),
    apart: Iterable[str] = (),
    aside: bool = False,
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """Save names into the store, all in one file, or if one of them cannot travel by co-variable groups (`known`).

    Names in `apart` get files of their own (definitions: a file that refers to them loads only where they are).
    `aside`: they are kept for a later run, nobody is going to load them soon. Returns value entries, and what cannot travel and why."""
    if not names:
        return [], {}
    lone = [[n] for n in names if n.startswith("@") or n in apart]
    values = [n for n in names if not n.startswith("@") and n not in apart]
    saved, stuck = await _write(session, kernel, [g for g in (values, *lone) if g], aside)
    if len(values) > 1 and set(stuck) & set(values):
        parted = groups_of(values, known)
        more, still = await _write(session, kernel, parted, aside)
        saved = [*saved, *more]
        stuck = {**{n: w for n, w in stuck.items() if n not in values}, **still}
    return saved, stuck


async def _adopt(session: Session, value: Mapping[str, Any]) -> None:
    """Let the store take a file over. It waits for the disk, and while that takes long everybody else goes on."""
    path, size = Path(value["path"]), int(value["bytes"])
    adopt = functools.partial(session.store.adopt_blob, path, sha256=value["sha256"], size=size, trusted=True)
    if size < LONG:
        await session.aside(adopt)
    else:
        moving = asyncio.get_running_loop().run_in_executor(None, adopt)
        try:
            await asyncio.shield(moving)
        except asyncio.CancelledError:
            await asyncio.wait({moving})
            raise


async def _write(
    session: Session, kernel: Kernel, groups: list[list[str]], aside: bool
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    with session.room.used():
        folder = Path(tempfile.mkdtemp(dir=session.store.staging()))
        try:
            written, stuck = await kernel.save(groups, str(folder), aside=aside)
            saved: list[Mapping[str, Any]] = []
            for value in written:
                await _adopt(session, value)
                saved.append({key: value[key] for key in ("names", "sha256", "bytes", "cells")})
            return saved, stuck
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return [], {n: NOT_KEPT for group in groups for n in group}


async def with_digests(
    session: Session, kernel: Kernel, names: Iterable[str], facts: Facts, outcome: CellOutcome
) -> CellOutcome:
    """Return the outcome with digests of `names`, made by the cell, and of its files, where a proof wants them."""
    if not session.terms.digests:
        return outcome
    gone = dict.fromkeys(plain(facts.deleted), "absent")
    digests = {**gone, **await kernel.digest(plain(names))}
    return replace(outcome, digests=digests, files=session.digests_of_files(facts))
