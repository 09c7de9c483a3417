"""What is taken of this machine: links one by one, libraries with what they need, conda's packages whole."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from jup2kub import fingerprint
from jup2kub.errors import EnvironmentProblem
from jup2kub.images import closure, debian, environment, machine, rootfs
from jup2kub.images.base import Base, Completion, complete
from jup2kub.images.blobs import Blobs
from jup2kub.images.layer import write
from jup2kub.images.layers import Maker
from jup2kub.images.machine import Closure, Interpreter
from jup2kub.images.registry import Registry
from jup2kub.images.tree import Entry, Ground, file, folder, link, settle
from jup2kub.model.env import LOCK_VERSION, Lock, Platform, Python, Wheel


def lock(libc: str = "glibc 2.36") -> Lock:
    return Lock(LOCK_VERSION, Python("3.11.2", "cpython", sys.executable), Platform("linux", "x86_64", libc))


def test_every_link_on_the_way_is_taken(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "x").write_text("x")
    (tmp_path / "short").symlink_to("real/deep")
    (tmp_path / "y").symlink_to(tmp_path / "short" / "x")
    found = {e.path: e.target for e in machine.entries([str(tmp_path / "y")])}
    root = str(tmp_path).lstrip("/")
    assert found == {
        f"{root}/y": str(tmp_path / "short" / "x"),
        f"{root}/short": "real/deep",
        f"{root}/real/deep/x": "",
    }


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many links"):
        machine.entries([str(tmp_path / "a")])


def test_libraries_are_followed_to_the_last_and_the_base_spares_its_own() -> None:
    import _ssl  # an extension that needs more than the C library

    if not getattr(_ssl, "__file__", None):
        pytest.skip("NOT TESTED: THIS PYTHON HAS ITS EXTENSIONS BUILT IN")
    own, searched = Closure(frozenset()).of([_ssl.__file__])
    names = {*searched, *(os.path.basename(p) for p in own)}
    assert any(name.startswith("libcrypto") for name in names)
    assert all(os.path.exists(p) for p in (*own, *searched.values()))
    assert not any(machine.GLIBC.fullmatch(name) for name in searched), (
        "of the C library the base's own is used"
    )
    assert Closure(frozenset(searched)).of([_ssl.__file__])[1] == {}


@pytest.mark.parametrize(
    ("name", "driver"),
    [("libcuda.so.1", True), ("libnvidia-ml.so.1", True), ("libcudart.so.12", False), ("libc.so.6", False)],
)
def test_drivers_stay_with_their_machine(name: str, driver: bool) -> None:
    assert bool(machine.DRIVERS.match(name)) is driver


def test_packages_of_conda_come_whole_with_what_they_depend_on(tmp_path: Path) -> None:
    site = "lib/python3.11/site-packages"
    packages = {
        "python": (["bin/python3.11"], ["openssl >=3"]),
        "openssl": (["lib/libssl.so.3"], []),
        "numpy": ([f"{site}/numpy/__init__.py"], ["python >=3.11", "libblas >=3.9"]),
        "libblas": (["lib/libblas.so.3"], []),
        "jupyterlab": (["share/lab/x"], ["python"]),
    }
    (tmp_path / "conda-meta").mkdir()
    for name, (files, depends) in packages.items():
        (tmp_path / "conda-meta" / f"{name}-1.json").write_text(
            json.dumps({"name": name, "files": files, "depends": depends})
        )
        for path in files:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("")
    python = Interpreter(
        str(tmp_path / "bin/python3.11"),
        {"numpy": (str(tmp_path / site / "numpy/__init__.py"),)},
        str(tmp_path / "lib/python3.11"), str(tmp_path / site), str(tmp_path), str(tmp_path),
    )  # fmt: skip
    found = {os.path.relpath(p, tmp_path) for p in machine.conda_files(python, ["numpy"])}
    assert found == {"bin/python3.11", "lib/libssl.so.3", f"{site}/numpy/__init__.py", "lib/libblas.so.3"}


def test_user_1000_gets_through_folders_that_the_base_keeps_closed() -> None:
    ground = closure.opened(Ground({"root": 0o700, "etc": 0o755, "srv": 0o700}), ["/root/.pyenv/bin/python"])
    assert ground.folders == {"root": 0o755, "etc": 0o755, "srv": 0o700}


def test_user_1000_gets_to_a_library_that_lies_alone_in_a_closed_folder(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "libpython3.so"
    library.parent.mkdir()
    library.write_bytes(b"x")
    closed = {"/".join(library.parts[1 : i + 1]): 0o700 for i in range(1, len(library.parts) - 1)}
    maker = Maker(Blobs(tmp_path / "cache"), "gzip", lambda told: None, None)  # type: ignore[arg-type]
    made = closure._libraries([str(library)], {}, Ground(closed), maker)
    assert closed
    assert {mode for path, mode in made.ground.folders.items() if path in closed} == {0o755}


def test_a_base_with_an_older_c_library_is_refused() -> None:
    old = Base((), "old.tar", completion=Completion(glibc=(2, 31)))
    with pytest.raises(EnvironmentProblem, match="J2K619"):
        closure.fits(old, lock("glibc 2.36"))
    closure.fits(old, lock("glibc 2.31"))


@pytest.mark.parametrize(
    ("libc", "suite"),
    [((2, 28), "bullseye"), ((2, 31), "bullseye"), ((2, 36), "bookworm"), ((2, 39), "trixie")],
)
def test_the_oldest_release_that_is_as_new_as_this_machine(libc: tuple[int, int], suite: str) -> None:
    assert debian.suite_as_new(libc, "3.12") == suite


@pytest.mark.parametrize("libc", [(2, 99), None])
def test_no_release_is_guessed(libc: tuple[int, int] | None) -> None:
    with pytest.raises(EnvironmentProblem, match="J2K613"):
        debian.suite_as_new(libc, "3.12")


def test_what_packages_scripts_would_have_made_is_made(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    shell = Path("/bin/sh").resolve()
    entries = [
        file("usr/share/base-passwd/passwd.master", b"root:x:0:0:root:/root:/bin/bash\n"),
        file("usr/share/ca-certificates/mozilla/b.crt", b"B\n"),
        file("usr/share/ca-certificates/mozilla/a.crt", b"A"),
        file("usr/bin/mawk", shell, executable=True),
        file("usr/bin/python3.11", shell, executable=True),
        file("usr/lib/python3.11/os.py", b"x = 1\n"),
        folder("tmp", 0o755),
        link("bin", "usr/bin"),
    ]
    low = write(blobs, settle(entries, Ground()), "gzip")
    done = complete(blobs, [low], "3.11", sys.executable, "gzip")
    assert done.python == "/usr/bin/python3.11"
    assert done.layer is not None
    seen = rootfs.look([blobs.path(x.blob.digest) for x in (low, done.layer)], lambda path: True)
    assert b"root:x:0" in seen.contents["etc/passwd"]
    assert b"j2k:x:1000:1000:" in seen.contents["etc/passwd"]
    assert seen.contents["etc/ssl/certs/ca-certificates.crt"] == b"A\nB\n"
    assert seen.ground.folders["tmp"] == 0o1777
    assert seen.has("usr/bin/awk")
    assert seen.has("usr/lib/python3.11/__pycache__/os.cpython-311.pyc")
    assert complete(blobs, [low], "3.11", sys.executable, "gzip") == done


def test_big_wheels_have_layers_of_their_own_but_not_without_end() -> None:
    many = [Wheel(f"w{i:03}", "1", f"w{i}.whl", "0" * 64, (2 << 20) + i) for i in range(environment.MOST + 5)]
    big, small = environment.sizes([*many, Wheel("tiny", "1", "t.whl", "1" * 64, 10)])
    assert len(big) == environment.MOST
    assert [w.name for w in small] == ["tiny", "w000", "w001", "w002", "w003", "w004"]


def test_a_change_of_any_file_is_seen_and_bytecode_is_none(tmp_path: Path) -> None:
    (tmp_path / "pkg" / "__pycache__").mkdir(parents=True)
    (tmp_path / "pkg" / "a.py").write_text("1")
    first = sorted(fingerprint.tree(str(tmp_path)))
    (tmp_path / "pkg" / "__pycache__" / "a.pyc").write_text("x")
    assert sorted(fingerprint.tree(str(tmp_path))) == first
    (tmp_path / "pkg" / "a.py").write_text("22")
    assert sorted(fingerprint.tree(str(tmp_path))) != first


def test_of_the_project_modules_and_requirements_count_and_data_does_not(tmp_path: Path) -> None:
    first = fingerprint.of_project(tmp_path, tmp_path / "none")
    (tmp_path / "data.csv").write_text("1")
    assert fingerprint.of_project(tmp_path, tmp_path / "none") == first
    for name in ("helper.py", "requirements.txt", "environment.yml"):
        (tmp_path / name).write_text("")
        later = fingerprint.of_project(tmp_path, tmp_path / "none")
        assert later != first
        first = later


def test_files_that_went_into_something_are_watched(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    facts = fingerprint.of_files([str(tmp_path / "a")])
    assert fingerprint.still(facts)
    (tmp_path / "a").unlink()
    assert not fingerprint.still(facts)


def test_a_layer_of_a_file_that_goes_away_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    entry = file("x", tmp_path / "x")
    (tmp_path / "x").unlink()
    maker = Maker(Blobs(tmp_path / "cache"), "gzip", lambda told: None, lambda reference: Registry(""))
    with pytest.raises(EnvironmentProblem, match="J2K618"):
        maker.make(["x"], "x", Ground(), lambda: [entry])


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    asked = []

    def entries() -> list[Entry]:
        asked.append(1)
        return [file("x", b"x")]

    maker = Maker(Blobs(tmp_path), "gzip", lambda told: None, lambda reference: Registry(""))
    one = maker.make(["x", 1], "x", Ground(), entries)
    assert maker.make(["x", 1], "x", Ground(), entries) == one
    assert len(asked) == 1
    maker.blobs.path(one.blob.digest).unlink()
    assert maker.make(["x", 1], "x", Ground(), entries) == one
    maker.make(["x", 1], "x", Ground({"tmp": 0o1777}), entries)
    assert len(asked) == 3, "what is below may show in a layer"


@pytest.mark.parametrize(
    ("prefix", "where"),
    [("/tmp/venv", True), ("/run/../tmp/x", True), ("/opt/conda", False), ("/tmpfs/v", False)],
)
def test_environments_that_containers_would_hide_are_known(prefix: str, where: bool) -> None:
    assert closure.hidden(prefix) is where
