from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from capture_world import environment

from jup2kub.capture import attribute, backends
from jup2kub.capture.attribute import Places
from jup2kub.capture.backends import Event

TRACE = """\
100 execve("/bin/python", ["python"], 0x7ffe /* 3 vars */) = 0
100 openat(AT_FDCWD</w>, "/m/1.start", O_RDONLY|O_CLOEXEC) = 3</m/1.start>
100 openat(AT_FDCWD</w>, "in.csv", O_RDONLY|O_CLOEXEC) = 3</w/in.csv>
100 openat(AT_FDCWD</w>, "gone.csv", O_RDONLY) = -1 ENOENT (No such file or directory)
100 openat(AT_FDCWD</w>, "caf\\303\\251.csv", O_WRONLY|O_CREAT|O_TRUNC, 0666 <unfinished ...>
101 newfstatat(AT_FDCWD</w>, "x", {st_mode=S_IFREG}, 0) = 0
100 <... openat resumed>) = 4</w/caf\\303\\251.csv>
100 connect(5<socket:[1]>, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.0.0.9")}, 16) = 0
100 openat(AT_FDCWD</w>, "/m/1.end", O_RDONLY|O_CLOEXEC) = 3</m/1.end>
100 rename("/w/a", "/w/b") = 0
100 openat(AT_FDCWD</w>, "/m/4.start", O_RDONLY|O_CLOEXEC) = 3</m/4.start>
100 openat(7</w/deep>, "../both", O_RDWR) = 3</w/both>
"""


def test_strace_by_cell() -> None:
    found = attribute.by_cell(backends.strace_events(iter(TRACE.splitlines(True))), "/m")
    assert found.read == {"/w/in.csv": {1}, "/w/both": {4}}
    assert found.written == {"/w/café.csv": {1}, "/w/b": {1}, "/w/both": {4}}
    assert found.removed == {"/w/a"}
    assert list(found.hosts) == ["10.0.0.9:443"]
    assert list(found.run) == ["/bin/python"]


def test_reprozips_names_are_normalised_and_its_order_is_kept(tmp_path: Path) -> None:
    database = tmp_path / "trace.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE opened_files(name TEXT, mode INT, timestamp INT)")
        connection.execute("CREATE TABLE executed_files(name TEXT, timestamp INT)")
        rows = [
            ("/w/b", 2, 30),
            ("/m/2.start", 1, 10),
            ("/w/x/../a", 1, 20),
            ("/sock", 33, 25),
            ("/w/c", 3, 40),
        ]
        connection.executemany("INSERT INTO opened_files VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO executed_files VALUES ('/bin/wc', 50)")
    connection.close()
    found = attribute.by_cell(backends.reprozip_events(database), "/m")
    assert found.read == {"/w/a": {2}, "/w/c": {2}}
    assert found.written == {"/w/b": {2}, "/w/c": {2}}
    assert list(found.run) == ["/bin/wc"]


def test_the_hooks_events(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        ["open", "/a", False],
        ["open", "/b", True],
        ["connect", "h", 80],
        ["rename", "/b", "/c"],
        ["remove", "/a"],
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '["open", "/torn')
    assert list(backends.hook_events(log)) == [
        Event("read", "/a"),
        Event("write", "/b"),
        Event("connect", "h:80"),
        Event("remove", "/b"),
        Event("write", "/c"),
        Event("remove", "/a"),
    ]


def test_what_is_data_and_what_is_software() -> None:
    places = Places("/w/project/", ("/w/project/.venv/", "/opt/python/"))
    assert places.is_data("/w/project/data/in.csv")
    assert places.is_data("/srv/shared/big.h5")
    assert not places.is_data("/w/project/.venv/lib/x.py")
    assert not places.is_data("/usr/share/zoneinfo/UTC")
    assert not places.is_data("/w/project/__pycache__/helper.cpython-311.pyc")
    assert places.named("/w/project/data/in.csv") == "data/in.csv"


def test_data_files_and_what_is_left_out(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name, text in (
        ("in.csv", "1"),
        (".env", "A=1"),
        ("keyed.py", "AKIA" + "IOSFODNN7QWERTYU"),
        ("old.txt", "now"),
    ):
        (project / name).write_text(text)
    places = Places(f"{project}/", ())
    before = attribute.state_of(project, places)
    (project / "old.txt").write_text("later")
    touched = attribute.Touched(
        read={str(project / n): {2} for n in ("in.csv", ".env", "keyed.py", "code.py", "absent")},
        written={str(project / "old.txt"): {3}, str(project / "new.txt"): {3}},
    )
    data, withheld = attribute.data_files(touched, places, before, [str(project / "code.py")])
    assert [(d.path, d.read_by, d.written_by, d.bytes, d.sha256 is not None) for d in data] == [
        ("in.csv", (2,), (), 1, True),
        ("new.txt", (), (3,), None, False),
        ("old.txt", (), (3,), 3, False),
    ]
    assert [w.partition(":")[0] for w in withheld] == [".env (cell 2)", "keyed.py (cell 2)"]


def test_hidden_files_of_the_home_are_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    places = Places.of(environment(tmp_path), tmp_path / "project")
    for name in (".cache/hub/model.bin", ".cache/matplotlib/fonts.json", "data/open.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    touched = attribute.Touched(read={str(p): {1} for p in tmp_path.rglob("*") if p.is_file()})
    data, withheld = attribute.data_files(touched, places, {}, [])
    assert [d.path for d in data] == [str(tmp_path / "data" / "open.csv")]
    assert [w.partition(" (cell")[0] for w in withheld] == [str(tmp_path / ".cache" / "hub" / "model.bin")]
    assert "put it into the project" in withheld[0]
