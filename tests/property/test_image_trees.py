"""Trees of images: whatever the entries, their order means nothing, and parents come first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jup2kub.images import ldcache
from jup2kub.images.tree import Entry, Ground, file, folder, laid, parents, settle

NAMES = st.text("ab.ü", min_size=1, max_size=3).filter(lambda t: t not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
MODES = st.sampled_from([0o755, 0o700, 0o1777])


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Entries of which none lies in a file, and no two are at one path."""
    found: dict[str, Entry] = {}
    for path in draw(st.lists(PATHS, max_size=8)):
        inside = any(p in found and not found[p].is_folder for p in parents(path))
        above = any(other.startswith(path + "/") for other in found)
        if inside or path in found:
            continue
        found[path] = folder(path, draw(MODES)) if above or draw(st.booleans()) else file(path, path.encode())
    return list(found.values())


@given(trees(), st.randoms(use_true_random=False))
def test_the_order_of_entries_means_nothing(entries: list[Entry], chance: object) -> None:
    shuffled = list(entries)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert settle(shuffled, Ground()) == settle(entries, Ground())


@given(trees())
def test_every_parent_comes_first_and_nothing_twice(entries: list[Entry]) -> None:
    made = settle(entries, Ground())
    paths = [e.path for e in made]
    assert len(paths) == len(set(paths))
    for place, path in enumerate(paths):
        assert set(parents(path)) <= set(paths[:place])


@given(trees(), trees())
def test_an_upper_layer_changes_no_mode_below(lower: list[Entry], upper: list[Entry]) -> None:
    ground = laid(settle(lower, Ground()))
    files = {e.path for e in lower if not e.is_folder}
    kept = [
        e
        for e in upper
        if not any(p in files for p in (*parents(e.path), e.path))
        and (e.is_folder or e.path not in ground.folders)
    ]
    for entry in settle(kept, ground):
        if entry.is_folder and entry.path in ground.folders:
            assert entry.mode == ground.folders[entry.path]


@given(st.lists(st.text("lib.so019a", min_size=1, max_size=6), min_size=1, max_size=12, unique=True))
def test_the_order_of_the_loader_is_an_order(names: list[str]) -> None:
    for one in names:
        assert ldcache.compare(one, one) == 0
        for two in names:
            assert (ldcache.compare(one, two) > 0) == (ldcache.compare(two, one) < 0)
