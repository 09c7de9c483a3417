"""Layers, archives and bytecode: the same bytes for the same content, and folders as the layers below have them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import marshal
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.images import (
    build,
    dockerfile,
    elf,
    layer,
    ldcache,
    oci,
    pyc,
    reference,
    rootfs,
    squeeze,
    tree,
    wheels,
)
from jup2kub.images.blobs import Blobs
from jup2kub.images.tree import Entry, Ground, file, folder, link, settle


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


def listed(blobs: Blobs, made: layer.Layer) -> dict[str, tarfile.TarInfo]:
    with (
        rootfs.plain(blobs.path(made.blob.digest)) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        return {m.name: m for m in archive}


def test_a_parent_keeps_the_mode_of_the_layer_below() -> None:
    made = settle([file("tmp/x", b"")], Ground({"tmp": 0o1777}))
    assert [(e.path, e.mode) for e in made] == [("tmp", 0o1777), ("tmp/x", 0o644)]


def test_a_folder_that_is_a_link_below_stays_one() -> None:
    made = settle([file("lib/a/b.so", b"x"), folder("lib")], Ground({"usr/lib": 0o755}, {"lib": "usr/lib"}))
    assert [e.path for e in made] == ["usr", "usr/lib", "usr/lib/a", "usr/lib/a/b.so"]


def test_a_loop_of_links_is_refused() -> None:
    with pytest.raises(ValueError, match="too many symbolic links"):
        Ground({}, {"a": "b", "b": "a"}).place("a/x")


def test_nothing_lies_in_a_file() -> None:
    with pytest.raises(ValueError, match="is a file or link"):
        settle([file("a", b""), file("a/b", b"")], Ground())


@pytest.mark.parametrize("kind", squeeze.kinds())
def test_the_same_entries_in_another_order_give_the_same_bytes(blobs: Blobs, kind: str) -> None:
    entries = [file("b/ü" + "x" * 200, b"1"), file("a", b"2", executable=True), link("c", "a")]
    one = layer.write(blobs, settle(entries, Ground()), kind)
    two = layer.write(blobs, settle(reversed(entries), Ground()), kind)
    assert one == two
    found = listed(blobs, one)
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in found.values()} == {(0, 0, 0, "")}
    assert (found["a"].mode, found["c"].linkname) == (0o755, "a")


def test_the_bytes_of_a_layer_and_of_an_archive_are_told_while_they_are_written(
    blobs: Blobs, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    entries = settle([file("a/b", os.urandom(3 << 20)), folder("c"), link("d", "c")], Ground())
    made = layer.write(blobs, entries, "gzip", "x", lambda done, total: told.append((done, total)))
    assert len(told) >= 3
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {total for _, total in told} == {made.raw}
    assert told[-1] == (made.raw, made.raw)
    image = oci.assemble(blobs, "a:1", [made], oci.Command(("/a",)))
    said: list[int] = []
    oci.save(blobs, [image], tmp_path / "a.tar", said.append)
    assert len(said) > 3
    assert said[-1] == image.size


def test_gzip_reads_as_gzip(blobs: Blobs) -> None:
    made = layer.write(blobs, [file("a", os.urandom(1 << 20))], "gzip")
    with blobs.path(made.blob.digest).open("rb") as packed:
        done = subprocess.run(["gzip", "-t"], stdin=packed, check=False)
    assert done.returncode == 0
    assert rootfs.kind_of(blobs.path(made.blob.digest)) == "gzip"


def test_a_torn_blob_counts_as_absent(blobs: Blobs) -> None:
    blob = blobs.put(b"whole")
    assert blobs.has(blob)
    blobs.path(blob.digest).write_bytes(b"who")
    assert not blobs.has(blob)
    with pytest.raises(ValueError, match="damaged"):
        blobs.read(blob)


def test_a_blob_whose_writing_fails_leaves_nothing(blobs: Blobs) -> None:
    def fail() -> None:
        with blobs.writing() as sink:
            sink.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((blobs.root / "sha256").iterdir()) == []


def image(blobs: Blobs, name: str, text: bytes) -> oci.Image:
    made = layer.write(blobs, [file("step", text)], "gzip", "step")
    return oci.assemble(blobs, name, [made], oci.Command(("/bin/sh",), {"B": "2", "A": "1"}))


def test_an_archive_holds_every_blob_once_and_both_indexes(blobs: Blobs, tmp_path: Path) -> None:
    images = [image(blobs, "localhost/a:1", b"1"), image(blobs, "localhost/a:2", b"2")]
    oci.save(blobs, images, tmp_path / "a.tar", lambda done: None)
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json") or io.BytesIO())
        docker = json.load(archive.extractfile("manifest.json") or io.BytesIO())
    assert len(names) == len(set(names))
    refs = [m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]]
    assert refs == ["localhost/a:1", "localhost/a:2"]
    assert all(path in names for one in docker for path in (one["Config"], *one["Layers"]))


def test_two_images_of_one_name_are_refused(blobs: Blobs) -> None:
    with pytest.raises(ValueError, match="same name"):
        oci.index([image(blobs, "a:1", b"1"), image(blobs, "a:1", b"2")])


def test_an_image_survives_its_record(blobs: Blobs) -> None:
    one = image(blobs, "a:1", b"1")
    again = oci.from_record(json.loads(json.dumps(one.to_record())))
    assert (again.name, again.blobs, again.manifest, again.command) == (
        one.name,
        one.blobs,
        one.manifest,
        one.command,
    )


def test_what_was_built_survives_its_record(blobs: Blobs) -> None:
    made = build.Built(
        (("main", image(blobs, "a:1", b"1")), ("fit", image(blobs, "a:2", b"2"))), ("n",), blobs.put(b"{}")
    )
    again = build.from_record(json.loads(json.dumps(made.to_record())))
    assert (again.notes, again.bill) == (made.notes, made.bill)
    assert [(s, i.blobs, i.name) for s, i in again.images] == [(s, i.blobs, i.name) for s, i in made.images]
    assert again.unique(1) == made.unique(1) == made.images[1][1].size


def test_whiteouts_take_away_what_is_below(blobs: Blobs) -> None:
    low = layer.write(
        blobs, settle([file("a/x", b"1"), file("b/y", b"2"), file("c", b"3")], Ground()), "gzip"
    )
    high = layer.write(blobs, settle([file("a/.wh..wh..opq", b""), file(".wh.c", b"")], Ground()), "gzip")
    seen = rootfs.look([blobs.path(x.blob.digest) for x in (low, high)], lambda path: True)
    assert seen.files == {"b/y"}
    assert seen.contents == {"b/y": b"2"}


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(EnvironmentProblem, match="J2K612"):
        rootfs.look([tmp_path / "x.tar"], lambda path: True)


def test_bytecode_is_of_the_unchecked_hash_kind_and_under_its_name_in_the_image() -> None:
    done = pyc.compile_all(
        [pyc.Source("opt/a.py", b"x = {'b', 'a'}\n"), pyc.Source("opt/bad.py", b"x =")], sys.executable
    )
    assert set(done) == {"opt/a.py"}
    data = done["opt/a.py"]
    assert data[:8] == importlib.util.MAGIC_NUMBER + b"\x01\x00\x00\x00"
    assert marshal.loads(data[16:]).co_filename == "/opt/a.py"


def test_bytecode_is_the_same_under_any_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"def f(x):\n    return x in {'a', 'b', 'c', 'd', 'e', 1, None, (2, 3)}\n" * 40
    made = []
    for seed in ("1", "77"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        made.append(pyc.compile_all([pyc.Source("a.py", text)], sys.executable))
    assert made[0] == made[1]


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


INFO = {
    "a-1.dist-info/METADATA": b"Name: a\nVersion: 1\n",
    "a-1.dist-info/RECORD": b"",
    "a-1.dist-info/entry_points.txt": b"[console_scripts]\ntool = a.cli:Main.run [extra]\n",
}
HOME = wheels.Home("opt/env", "3.11")


def test_a_wheel_is_installed_as_pip_would(tmp_path: Path) -> None:
    path = wheel(
        tmp_path / "a-1-py3-none-any.whl",
        {"a/__init__.py": b"", "a-1.data/scripts/s": b"#!python\nx", "a-1.data/data/share/d": b"d", **INFO},
    )
    found = {e.path: e for e in wheels.entries(path, HOME)}
    site = "opt/env/lib/python3.11/site-packages"
    assert found["opt/env/bin/s"].content == b"#!/opt/env/bin/python\nx"
    assert found["opt/env/share/d"].content == b"d"
    script = found["opt/env/bin/tool"]
    assert isinstance(script.content, bytes)
    assert b"from a.cli import Main" in script.content
    assert script.content.rstrip().endswith(b"sys.exit(Main.run())")
    assert script.mode == 0o755
    record = found[f"{site}/a-1.dist-info/RECORD"].content
    assert isinstance(record, bytes)
    assert b"../../../bin/tool,sha256=" in record
    assert {
        f"{site}/{line.split(',')[0]}" for line in record.decode().splitlines() if not line.startswith("..")
    } <= set(found)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_wheel_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(EnvironmentProblem, match="J2K611"):
        wheels.entries(wheel(tmp_path / "a.whl", {name: b"", **INFO}), HOME)


def test_a_wheel_that_is_not_what_was_locked_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path / "a.whl", INFO)
    with pytest.raises(EnvironmentProblem, match="is not what was locked"):
        wheels.check(path, "0" * 64)


def recorded(data: bytes) -> str:
    return wheels.as_recorded(hashlib.sha256(data).digest())


@pytest.mark.parametrize("size", [10, wheels.LARGE])
def test_a_file_that_is_not_what_its_record_says_is_refused(tmp_path: Path, blobs: Blobs, size: int) -> None:
    told = f"a/lib.so,{recorded(b'another')},{size}\n".encode()
    path = wheel(tmp_path / "a.whl", {"a/lib.so": b"x" * size, **INFO, "a-1.dist-info/RECORD": told})
    with pytest.raises(EnvironmentProblem, match=r"a/lib\.so is not what its RECORD says"):
        layer.write(blobs, settle(wheels.entries(path, HOME), Ground()), "gzip")


def test_a_large_file_has_the_same_layer_and_record_as_one_that_was_read(
    tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * (wheels.LARGE // 256)
    told = f"a/lib.so,{recorded(data)},{len(data)}\n".encode()
    path = wheel(tmp_path / "a.whl", {"a/lib.so": data, **INFO, "a-1.dist-info/RECORD": told})
    made = [layer.write(blobs, settle(wheels.entries(path, HOME), Ground()), "gzip")]
    assert any(isinstance(e.content, wheels.Member) for e in wheels.entries(path, HOME))
    monkeypatch.setattr(wheels, "LARGE", 1 << 40)
    made.append(layer.write(blobs, settle(wheels.entries(path, HOME), Ground()), "gzip"))
    assert made[0].blob == made[1].blob


BIG = 300 << 20
HOLDS = """
import re, sys
from pathlib import Path
from jup2kub.images import layer, oci, wheels
from jup2kub.images.blobs import Blobs
from jup2kub.images.tree import Ground, settle
blobs = Blobs(Path(sys.argv[2]))
made = layer.write(blobs, settle(wheels.entries(Path(sys.argv[1]), wheels.Home("opt/env", "3.11")), Ground()), sys.argv[3])
image = oci.assemble(blobs, "a:1", [made], oci.Command(("/a",)))
oci.save(blobs, [image], Path(sys.argv[2]) / "archive.tar", lambda size: None)
# not ru_maxrss, which remembers the process that this one was forked from
print(made.raw, re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("kind", squeeze.kinds())
def test_a_big_wheel_becomes_a_layer_and_an_archive_without_being_held(tmp_path: Path, kind: str) -> None:
    piece = bytes(1 << 20)
    total = hashlib.sha256()
    path = tmp_path / "big.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("big/lib.so", "w", force_zip64=True) as out:
            for _ in range(BIG // len(piece)):
                out.write(piece)
                total.update(piece)
        told = f"big/lib.so,{wheels.as_recorded(total.digest())},{BIG}\n"
        archive.writestr("big-1.dist-info/METADATA", "Name: big\nVersion: 1\n")
        archive.writestr("big-1.dist-info/RECORD", told)
    words = [sys.executable, "-c", HOLDS, str(path), str(tmp_path / "cache"), kind]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    raw, most = map(int, done.stdout.split())
    assert raw > BIG
    assert most < 120_000, "kilobytes, the interpreter included; the layer alone has 300 000"


def test_elf_is_read_as_the_loader_reads_it() -> None:
    real = Path("/bin/sh").resolve()
    parsed = elf.parse(real.read_bytes())
    if parsed is None:
        pytest.skip("NOT TESTED: PROGRAMS HERE ARE NO 64-BIT ELF FILES")
    assert "ld-" in parsed.interpreter
    assert any(name.startswith("libc.") for name in parsed.needed)
    assert elf.parse(b"#!/bin/sh") is None
    assert elf.parse(real.read_bytes()[:80]) is None


def test_names_of_libraries_are_ordered_as_the_loader_orders_them() -> None:
    assert ldcache.compare("libfoo.so.10", "libfoo.so.9") > 0
    assert ldcache.compare("libfoo.so.9", "libfoo.so.9") == 0
    assert ldcache.compare("liba.so", "libb.so") < 0
    assert ldcache.compare("lib1.so", "liba.so") > 0, "digits come after letters"


def test_ldconfig_reads_the_cache_that_we_write(tmp_path: Path) -> None:
    program = next((p for p in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.path.exists(p)), None)
    if program is None:
        pytest.skip("NOT TESTED: THERE IS NO LDCONFIG")
    names = ["libz.so.1", "libssl.so.3", "libfoo.so.10", "libfoo.so.9"]
    (tmp_path / "cache").write_bytes(ldcache.build([ldcache.Library(n, f"/usr/lib/{n}", 62) for n in names]))
    done = subprocess.run(
        [program, "-p", "-C", str(tmp_path / "cache")], capture_output=True, text=True, check=True
    )
    found = [line.split()[0] for line in done.stdout.splitlines()[1:] if "=>" in line]
    assert sorted(found) == sorted(names)
    assert all(f"/usr/lib/{n}" in done.stdout for n in names)


@pytest.mark.parametrize(
    ("text", "name", "server", "wanted"),
    [
        ("python", "docker.io/library/python", "https://registry-1.docker.io", "latest"),
        ("lab/python:3.12", "docker.io/lab/python", "https://registry-1.docker.io", "3.12"),
        ("localhost:5000/a/b", "localhost:5000/a/b", "http://localhost:5000", "latest"),
        ("http://10.0.0.1:5000/a", "10.0.0.1:5000/a", "http://10.0.0.1:5000", "latest"),
        (
            "r.example/a/b-c:v1@sha256:" + "0" * 64,
            "r.example/a/b-c",
            "https://r.example",
            "sha256:" + "0" * 64,
        ),
    ],
)
def test_references(text: str, name: str, server: str, wanted: str) -> None:
    found = reference.parse(text)
    assert (found.name, found.server, found.wanted) == (name, server, wanted)


@pytest.mark.parametrize(
    "text", ["", "UPPER/case", "r.example/a b", "r.example/a:t:u", "a@sha256:12", "ftp://r.example/a"]
)
def test_what_names_no_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="J2K620"):
        reference.parse(text)


def test_values_of_labels_are_quoted() -> None:
    assert dockerfile._quoted('a "b" $c \\') == '"a \\"b\\" \\$c \\\\"'


def test_a_link_entry_is_neither_folder_nor_file() -> None:
    assert not link("a", "b").is_folder
    assert Entry("a").is_folder
    assert tree.clean("/a/./b/../c/") == "a/c"
