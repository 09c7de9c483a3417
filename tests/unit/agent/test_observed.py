"""What a cell met outside the notebook, and files put back when its result is reused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jup2kub.agent.files import post_images, put_back
from jup2kub.agent.observed import file_digest, met, observe, still
from jup2kub.agent.undo import restore
from jup2kub.model.facts import Facts
from jup2kub.store.memory import MemoryStore

ENV = {"SEEN": "1", "OTHER": "2"}
FACTS = Facts(
    files_read=("in.txt", "gone.txt", "folder", "out.txt"),
    files_written=("out.txt",),
    absent=("absent.txt",),
    env_read=("SEEN", "UNSET"),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "folder").mkdir(parents=True)
    (folder / "in.txt").write_text("in")
    (folder / "out.txt").write_text("out")
    (folder / "folder" / "a.csv").write_text("a")
    return folder


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore()
    yield opened
    opened.close()


@pytest.fixture
def undo(tmp_path: Path) -> Path:
    (tmp_path / "undo").mkdir()
    return tmp_path / "undo"


def touch(project: Path) -> None:
    os.utime(project / "in.txt", ns=(1, 1))


def same_content_in_another_file(project: Path) -> None:
    (project / "new").write_text("in")
    os.replace(project / "new", project / "in.txt")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda p: None, True),
        (touch, True),
        (same_content_in_another_file, True),
        (lambda p: (p / "in.txt").write_text("IN"), False),
        (lambda p: (p / "in.txt").write_text("longer"), False),
        (lambda p: (p / "in.txt").unlink(), False),
        (lambda p: (p / "gone.txt").write_text("here now"), False),
        (lambda p: (p / "absent.txt").write_text("here now"), False),
        (lambda p: (p / "folder" / "b.csv").write_text("b"), False),
        (lambda p: (p / "folder" / "a.csv").write_text("other content, same names"), True),
        (lambda p: (p / "out.txt").write_text("its own result"), True),
        (lambda p: (p / "unrelated.txt").write_text("u"), True),
    ],
)
def test_a_result_stands_while_all_that_was_seen_is_as_it_was(
    change: Callable[[Path], object], same: bool, project: Path
) -> None:
    seen = observe(FACTS, project, ENV)
    before = met(seen, None)
    change(project)
    assert still(seen, project, ENV) is same
    if same:
        assert met(observe(FACTS, project, ENV), None) == before, "by content, not by time or inode"
    elif not (project / "absent.txt").exists():
        assert met(observe(FACTS, project, ENV), None) != before


@pytest.mark.parametrize(
    ("env", "same"),
    [
        (ENV, True),
        ({**ENV, "OTHER": "3"}, True),
        ({**ENV, "SEEN": "2"}, False),
        ({**ENV, "UNSET": ""}, False),
        ({}, False),
    ],
)
def test_variables_of_the_environment_count_if_they_were_read(
    env: dict[str, str], same: bool, project: Path
) -> None:
    seen = observe(FACTS, project, ENV)
    assert still(seen, project, env) is same
    assert (met(observe(FACTS, project, env), None) == met(seen, None)) is same
    assert len(seen["env"]["SEEN"]) == 64, "a digest, never the value itself"


def test_who_met_nothing_and_repeats_leaves_no_trace_in_keys(project: Path) -> None:
    nothing = observe(Facts(), project, ENV)
    assert met(nothing, None) == ""
    assert met(nothing, "token") != met(nothing, "another token")


def test_a_file_that_cannot_be_read_has_no_digest(project: Path) -> None:
    assert file_digest(project / "gone.txt") is None
    assert file_digest(project / "folder") is None


def test_written_files_are_put_back_as_the_cell_left_them(
    project: Path, undo: Path, store: MemoryStore
) -> None:
    (project / "folder" / "made.bin").write_bytes(b"\0" * 10)
    os.chmod(project / "folder" / "made.bin", 0o640)
    outside = str(project.parent / "outside.txt")
    names = ("out.txt", "folder/made.bin", "removed.txt", "folder", outside)
    images = post_images(project, names, store)
    assert set(images) == {"out.txt", "folder/made.bin", "removed.txt"}

    (project / "out.txt").write_text("changed since")
    (project / "removed.txt").write_text("back again")
    (project / "folder" / "made.bin").unlink()
    (project / "folder" / "a.csv").unlink()
    (project / "folder").rmdir()
    put_back(project, images, store, undo)

    assert (project / "out.txt").read_text() == "out"
    assert not (project / "removed.txt").exists()
    assert (project / "folder" / "made.bin").read_bytes() == b"\0" * 10
    assert (project / "folder" / "made.bin").stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in project.iterdir()) == ["folder", "in.txt", "out.txt"], (
        "nothing is left over"
    )
    restore(undo)
    assert (project / "out.txt").read_text() == "changed since"
    assert (project / "removed.txt").read_text() == "back again"
    assert not (project / "folder" / "made.bin").exists()


def test_files_that_are_right_already_stay_untouched(project: Path, undo: Path, store: MemoryStore) -> None:
    images = post_images(project, ("out.txt",), store)
    inode = (project / "out.txt").stat().st_ino
    put_back(project, images, store, undo)
    os.utime(project / "out.txt", ns=(1, 1))
    put_back(project, images, store, undo)
    assert (project / "out.txt").stat().st_ino == inode


def test_a_file_of_equal_size_and_other_content_is_put_back(
    project: Path, undo: Path, store: MemoryStore
) -> None:
    images = post_images(project, ("out.txt",), store)
    (project / "out.txt").write_text("OUT")
    put_back(project, images, store, undo)
    assert (project / "out.txt").read_text() == "out"
