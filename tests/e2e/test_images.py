"""Images in real parts: containerd and runc run them as user 1000, read-only and without network."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import imagelab
import pytest
from imagelab import Node

from jup2kub.images import closure

EXPECTED = frozenset({"metadata of every distribution", "no traces of the builder"})
"""Not promised by the strategy `closure`: it takes what this machine has, under this machine's paths."""


@pytest.fixture(scope="module")
def node(kit: Any) -> Node:
    imagelab.needs("mmdebstrap")
    if kit.folder is None:
        pytest.skip("NOT TESTED: CONTAINERS ARE STARTED IN THE TEST CLUSTER'S OWN NODE")
    return Node(kit)


@pytest.fixture(scope="module")
def built(node: Node, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("study")
    found = imagelab.build(imagelab.study(folder), "--archive", str(folder / "study.tar"))
    node.load(folder / "study.tar")
    return {**found, "archive": folder / "study.tar"}


def test_there_is_an_image_for_the_main_line_and_each_step(built: dict[str, Any]) -> None:
    assert [i["step"] for i in built["images"]] == ["main", "load", "fit", "score", "plot"]
    assert len({i["digest"] for i in built["images"]}) == 5


def test_a_further_step_costs_ten_kilobytes_at_most(built: dict[str, Any]) -> None:
    assert all(0 < i["unique_bytes"] <= 10_000 for i in built["images"][1:])


def test_the_notebook_runs_in_an_ordinary_kernel_of_its_image(node: Node, built: dict[str, Any]) -> None:
    said = node.run(built["images"][0]["reference"], "python", "/mnt/runnotebook.py")
    assert said.strip() == imagelab.SAYS


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("strategy", ["lock", "closure"])
def test_ordinary_operations_that_the_notebook_did_not_exercise_work(
    node: Node, built: dict[str, Any], strategy: str, tmp_path: Path
) -> None:
    found, expected = built, frozenset[str]()
    if strategy == "closure":
        if closure.hidden(sys.prefix):
            pytest.skip("NOT TESTED: THIS ENVIRONMENT LIES WHERE CONTAINERS HAVE A FOLDER OF THEIR OWN")
        found = imagelab.build(
            imagelab.study(tmp_path), "--strategy", "closure", "--archive", str(tmp_path / "c.tar")
        )
        node.load(tmp_path / "c.tar")
        expected = EXPECTED
    told = json.loads(node.run(found["images"][0]["reference"], "python", "/mnt/probes.py", seconds=600))
    assert len(told) >= 24
    assert {name: why for name, why in told.items() if why != "ok" and name not in expected} == {}


def test_the_entry_point_starts_agents_and_servers(node: Node, built: dict[str, Any]) -> None:
    last = built["images"][-1]
    for part in ("agent", "server"):
        assert f"jup2kub-{part}" in node.run(last["reference"], *last["entrypoint"], part, "--help")


def test_the_bill_of_materials_lists_wheels_and_packages_of_the_base(built: dict[str, Any]) -> None:
    bill = json.loads(built["archive"].with_name("study.tar.cdx.json").read_text())
    refs = {c["bom-ref"].split("@")[0] for c in bill["components"]}
    assert {"pkg:pypi/pandas", "pkg:deb/debian/libc6", "pkg:deb/debian/python3.11"} <= refs


def test_a_second_build_of_an_unchanged_notebook_does_nothing(built: dict[str, Any]) -> None:
    notebook = built["archive"].with_name("study.ipynb")
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = imagelab.build(notebook)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert again["images"] == [dict(i) for i in built["images"]]
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    assert spent < 0.7, "seconds of CPU; how long it takes hangs on what else the machine does"


def test_a_changed_module_beside_the_notebook_makes_other_images(built: dict[str, Any]) -> None:
    notebook = built["archive"].with_name("study.ipynb")
    helper = notebook.with_name("helper.py")
    before = helper.read_text()
    try:
        helper.write_text(before.replace("3 * x", "4 * x"))
        again = imagelab.build(notebook)
    finally:
        helper.write_text(before)
    assert {i["digest"] for i in again["images"]}.isdisjoint({i["digest"] for i in built["images"]})


@pytest.mark.slow
def test_builds_in_different_folders_caches_and_hash_seeds_are_the_same(
    built: dict[str, Any], tmp_path: Path
) -> None:
    cache = Path.home() / ".cache" / "jup2kub-images"
    base = base_layer(cache, built["archive"])
    digests = []
    for name, seed in (("one", "1"), ("two", "2")):
        folder = tmp_path / name / ("deep" if seed == "2" else "")
        (tmp_path / f"cache-{name}" / "jup2kub").mkdir(parents=True)
        (tmp_path / f"cache-{name}" / "jup2kub" / "wheels").symlink_to(Path.home() / ".cache/jup2kub/wheels")
        env = {"PYTHONHASHSEED": seed, "XDG_CACHE_HOME": str(tmp_path / f"cache-{name}")}
        found = imagelab.build(imagelab.study(folder), "--base", str(base), env=env)
        digests.append([i["digest"] for i in found["images"]])
    assert digests[0] == digests[1]


def base_layer(cache: Path, archive: Path) -> Path:
    """Return the lowest layer of the main image, as it lies in the cache."""
    done = subprocess.run(["tar", "xOf", str(archive), "manifest.json"], capture_output=True, check=True)
    lowest = json.loads(done.stdout)[0]["Layers"][0]
    return cache / "sha256" / lowest.rpartition("/")[2]


def test_dockerfiles_name_every_wheel_by_its_hash(tmp_path: Path) -> None:
    notebook = imagelab.study(tmp_path, ("import numpy\nprint(numpy.ones(2).sum())",))
    (made,) = imagelab.build(notebook, "--strategy", "dockerfile")["images"]
    folder = Path(made["reference"])
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("numpy==") for line in lines)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--require-hashes", "--no-deps",
         "--ignore-installed", "-r", str(folder / "requirements.txt")],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PIP_FIND_LINKS": str(folder / "wheels")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_packs_are_made_of_the_steps_of_the_plan(tmp_path: Path) -> None:
    pytest.importorskip("reprozip", reason="NOT TESTED, FOR THERE IS NO REPROZIP")
    cells = ("import json", "#| step: a\nx = json.dumps([1])", "print(x)")
    made = imagelab.build(imagelab.study(tmp_path, cells), "--strategy", "rpz")["images"]
    assert [i["step"] for i in made] == ["main", "a"]
    for one in made:
        with tarfile.open(one["reference"]) as pack:
            assert {"METADATA", "DATA.tar.gz"} <= {n.split("/")[0] for n in pack.getnames()}


def test_images_are_not_made_of_a_strategy_that_makes_none(tmp_path: Path) -> None:
    said = imagelab.build(
        imagelab.study(tmp_path, ("1",)), "--strategy", "dockerfile", "--archive", "a.tar", code=2
    )
    assert "J2K628" in said["error"]


def test_a_base_for_another_architecture_is_refused(tmp_path: Path) -> None:
    library = bytearray(Path("/lib/x86_64-linux-gnu/libz.so.1").read_bytes())
    library[18:20] = (183).to_bytes(2, "little")  # EM_AARCH64
    with tarfile.open(tmp_path / "base.tar", "w") as base:
        member = tarfile.TarInfo("usr/lib/aarch64-linux-gnu/libz.so.1")
        member.size = len(library)
        base.addfile(member, io.BytesIO(library))
    notebook = imagelab.study(tmp_path / "study", ("1",))
    said = imagelab.build(notebook, "--base", str(tmp_path / "base.tar"), code=3)["error"]
    assert "J2K617" in said
    assert "base.tar) is made for linux/arm64" in said
