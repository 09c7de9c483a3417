"""The project folder of a pod: filled from the store, and nothing written in it is lost unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jup2kub.agent.files import post_images
from jup2kub.engine.pod.workspace import Workspace, made_folders
from jup2kub.store.memory import MemoryStore


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    made = MemoryStore()
    yield made
    made.close()


def project(folder: Path, store: MemoryStore) -> Workspace:
    """A workspace of a project with two files."""
    source = folder / "user"
    (source / "data").mkdir(parents=True)
    (source / "data" / "in.csv").write_text("1,2")
    (source / "tool.py").write_text("x = 1")
    os.utime(source / "tool.py", ns=(10**18, 10**18))
    images = post_images(source, ["data/in.csv", "tool.py"], store)
    made = Workspace(folder / "pod", store, images, ["data", "empty"])
    made.bring({})
    return made


def test_it_is_what_the_project_is(tmp_path: Path, store: MemoryStore) -> None:
    made = project(tmp_path, store)
    assert (made.folder / "data" / "in.csv").read_text() == "1,2"
    assert (made.folder / "tool.py").stat().st_mtime_ns == 10**18
    assert (made.folder / "empty").is_dir()
    assert made.changes() == {}
    assert made.folders() == ["data", "empty"]


def test_changes_are_found_however_they_were_made(tmp_path: Path, store: MemoryStore) -> None:
    made = project(tmp_path, store)
    (made.folder / "out.bin").write_bytes(b"new")
    (made.folder / "data" / "in.csv").write_text("3,4")
    (made.folder / "tool.py").unlink()
    (made.folder / "__pycache__").mkdir()
    (made.folder / "__pycache__" / "tool.pyc").write_bytes(b"cache")
    found = made.changes()
    assert sorted(found) == ["data/in.csv", "out.bin", "tool.py"]
    assert found["tool.py"] is None
    image = found["out.bin"]
    assert image is not None
    assert store.read_blob(image["sha256"]) == b"new"


def test_a_file_that_was_only_touched_is_no_change(tmp_path: Path, store: MemoryStore) -> None:
    made = project(tmp_path, store)
    os.utime(made.folder / "tool.py")
    assert made.changes() == {}


def test_a_second_task_finds_what_is_meant_for_it_and_nothing_of_the_first(
    tmp_path: Path, store: MemoryStore
) -> None:
    made = project(tmp_path, store)
    (made.folder / "left.txt").write_text("of the first")
    (made.folder / "data" / "in.csv").write_text("spoiled")
    other = tmp_path / "other"
    other.mkdir()
    (other / "late.txt").write_text("from elsewhere")
    made.bring({**post_images(other, ["late.txt"], store), "tool.py": None}, ["made/here"])
    found = sorted(str(p.relative_to(made.folder)) for p in made.folder.rglob("*") if p.is_file())
    assert found == ["data/in.csv", "late.txt"]
    assert (made.folder / "data" / "in.csv").read_text() == "1,2"
    assert (made.folder / "made" / "here").is_dir()


def test_what_lay_there_before_is_neither_taken_away_nor_taken_along(
    tmp_path: Path, store: MemoryStore
) -> None:
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod" / "mine.txt").write_text("of a volume, or of the user")
    made = project(tmp_path, store)
    (made.folder / "out.txt").write_text("made")
    assert sorted(made.changes()) == ["out.txt"]
    made.bring({})
    assert (made.folder / "mine.txt").exists()
    assert not (made.folder / "out.txt").exists()
    (made.folder / "late.txt").write_text("of the last set")
    following = Workspace(made.folder, store, {}, (), made.foreign)
    following.bring({})
    assert not (made.folder / "late.txt").exists()
    assert (made.folder / "mine.txt").exists()


def image(store: MemoryStore, text: str) -> dict[str, object]:
    data = text.encode()
    return {"sha256": store.put_blob(data), "bytes": len(data), "mode": 0o644}


def test_beside_another_task_only_what_the_cell_may_touch_is_brought(
    tmp_path: Path, store: MemoryStore
) -> None:
    made = project(tmp_path, store)
    for name in ("left.txt", "newer.txt", "own.txt", "gone.txt"):
        (made.folder / name).write_text("of the other")
    over = {"newer.txt": image(store, "older"), "own.txt": image(store, "mine"), "gone.txt": None}
    made.bring(over, touches=lambda name: name in ("own.txt", "gone.txt"))
    found = {p.name: p.read_text() for p in made.folder.glob("*.txt")}
    assert (found["left.txt"], found["newer.txt"], found["own.txt"]) == ("of the other",) * 2 + ("mine",)
    assert "gone.txt" not in found


def test_what_was_brought_meanwhile_was_not_changed_by_a_cell(tmp_path: Path, store: MemoryStore) -> None:
    made = project(tmp_path, store)
    (made.folder / "old.txt").write_text("old")
    before = made.marks()
    made.bring({"a.txt": image(store, "A"), "old.txt": None}, touches=lambda name: True)
    (made.folder / "own.txt").write_text("by the cell")
    assert made.changed(before) == {"own.txt"}
    (made.folder / "a.txt").write_text("by the cell")
    assert made.changed(before) == {"own.txt", "a.txt"}


def test_folders_that_a_cell_made_are_told_from_files() -> None:
    record = {"facts": {"files_written": ["out", "out/a.txt", "/abs"]}, "files": {"out/a.txt": {}}}
    assert made_folders(record) == ["out"]
