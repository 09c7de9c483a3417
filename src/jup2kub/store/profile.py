"""What runs have learned of cells, one readable JSON file a profile key: `profile/<first two letters>/<key>.json`.

A profile is advice: a run validates what it assumes. So it carries no signature, may be edited by hand, and a file
that does not parse is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from jup2kub.errors import StoreProblem
from jup2kub.kit import canon
from jup2kub.model.facts import Facts

from . import disk as disks
from .disk import Disk, lock, make_folder

_KEY = re.compile(r"[0-9a-zA-Z_.-]{4,160}")
NEWEST = 0.5
"""Weight of the newest observation in the mean of seconds."""


def merge(old: Facts | None, new: Facts) -> Facts:
    """Return what to believe after `new` was seen.

    The newest observation wins; times are exponential means. What a plan got wrong about the cell holds for ever:
    from then on all that was ever bound, changed or shared is kept. An execution that raised was seen only in part,
    so it adds to a complete one and replaces nothing of it.
    """
    if old is None:
        return new
    if old.mispredicted or new.mispredicted:
        return _lasting(old, replace(new, **_times(old, new)))  # type: ignore[arg-type]
    if new.raised and not old.raised:
        mutated = old.mutated | new.mutated
        return replace(
            old, mutated=mutated, unchanged=old.unchanged - mutated, effects=old.effects | new.effects
        )
    if old.raised and not new.raised:
        return new
    return replace(new, **_times(old, new))  # type: ignore[arg-type]


def _times(old: Facts, new: Facts) -> dict[str, object]:
    """Return the fields that are means, and those a cell keeps when this time nothing of it was saved."""
    kept: dict[str, object] = {
        "seconds": _mean(old.seconds, new.seconds),
        "cpu_seconds": _mean(old.cpu_seconds, new.cpu_seconds),
    }
    kept["save_seconds"] = _mean(old.save_seconds, new.save_seconds) if new.save_seconds else old.save_seconds
    if not new.sizes:
        kept["sizes"] = old.sizes
    return kept


def _mean(old: float, new: float) -> float:
    return NEWEST * new + (1 - NEWEST) * old


def _lasting(old: Facts, new: Facts) -> Facts:
    mutated = old.mutated | new.mutated
    return replace(
        new,
        mispredicted=True,
        bound=old.bound | new.bound,
        mutated=mutated,
        unchanged=new.unchanged - mutated,
        aliases=_union(old.aliases + new.aliases),
        effects=old.effects | new.effects,
        unshippable={**old.unshippable, **new.unshippable},
        sticky=new.sticky or old.sticky,
    )


def _union(groups: tuple[frozenset[str], ...]) -> tuple[frozenset[str], ...]:
    """Return the groups without those inside another, in a stable order."""
    distinct = set(groups)
    kept: list[frozenset[str]] = [g for g in distinct if not any(g < other for other in distinct)]
    return tuple(sorted(kept, key=sorted))


def place(folder: Path, key: str) -> Path:
    """Return the file of a profile key below the folder of all."""
    return folder / key[:2] / f"{key}.json"


class Profiles(Mapping[str, Facts]):
    """A live view of one folder. `learn` raises OSError; `files` turns it into StoreProblem."""

    def __init__(self, disk: Disk, folder: Path, ignored: dict[str, str]) -> None:
        self._disk, self._folder, self._ignored = disk, folder, ignored

    def _place(self, key: str) -> Path:
        if not _KEY.fullmatch(key) or key.startswith("."):
            raise StoreProblem("J2K513", f"{key!r} is not a profile key (4 to 160 letters, digits, _ . or -)")
        return place(self._folder, key)

    def learn(self, key: str, facts: Facts) -> None:
        path = self._place(key)
        make_folder(self._disk, path.parent)
        with lock(self._folder / ".lock", exclusive=True):
            merged = merge(self.get(key), facts)
            text = json.dumps(canon.to_json(merged), indent=1, sort_keys=True).encode() + b"\n"
            # Lost times are measured again; a lost misprediction would be walked into again.
            disks.replace(self._disk, path, text, sync=merged.mispredicted)

    def __getitem__(self, key: str) -> Facts:
        path = self._place(key)
        try:
            return canon.from_json(Facts, json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise KeyError(key) from None
        except (OSError, ValueError) as e:
            self._ignored[f"profile/{key}"] = str(e)
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                found = (
                    p for p in sorted(folder.iterdir()) if p.suffix == ".json" and not p.name.startswith(".")
                )
                yield from (p.stem for p in found if p.stem in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
