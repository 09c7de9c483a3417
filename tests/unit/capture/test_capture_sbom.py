from __future__ import annotations

import json
from pathlib import Path

import pytest
from capture_world import environment

from jup2kub.capture import sbom
from jup2kub.model.env import EDITABLE, LOCK_VERSION, VCS, Carried, CarriedFile, LocalModule, Lock, Wheel

DEBIAN = (
    sbom.DebianPackage("base-files", "12.4", "amd64"),
    sbom.DebianPackage("libc6", "2.36-9+deb12u4", "amd64", source="glibc"),
)


def lock(tmp_path: Path) -> Lock:
    here = environment(tmp_path)
    wheels = (
        Wheel(
            "numpy",
            "2.0.0",
            "numpy-2.0.0-cp311-any.whl",
            "a" * 64,
            10,
            licence="BSD-3-Clause",
            url="https://h/n.whl",
        ),
        Wheel(
            "pandas",
            "2.2.0",
            "pandas-2.2.0-cp311-any.whl",
            "b" * 64,
            10,
            ("numpy", "mine"),
            licence="BSD license",
        ),
        Wheel("dual", "1", "dual-1-any.whl", "e" * 64, 1, licence="MIT OR Apache-2.0"),
    )
    files = (CarriedFile("mine/__init__.py", "/home/me/src/mine/__init__.py", "c" * 64, 5),)
    carried = (
        Carried("mine", "0.1", EDITABLE, "editable", files),
        Carried("repo", "1", VCS, "from git", files),
    )
    modules = (LocalModule("helper", "helper.py", "d" * 64, 7, "/home/me/project/helper.py"),)
    return Lock(LOCK_VERSION, here.python, here.platform, wheels, carried, modules)


def test_every_component_has_hashes_and_every_dependency_exists(tmp_path: Path) -> None:
    bill = sbom.sbom(lock(tmp_path), "study.ipynb", DEBIAN, "debian bookworm")
    document = json.loads(bill)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    parts = {c["bom-ref"]: c for c in document["components"]}
    assert len(parts) == len(document["components"])
    assert parts["pkg:pypi/numpy@2.0.0"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert all("hashes" in c for r, c in parts.items() if not r.startswith("pkg:deb/"))
    refs = {*parts, "notebook"}
    assert all(refs >= {d["ref"], *d["dependsOn"]} for d in document["dependencies"])
    needs = {d["ref"]: d["dependsOn"] for d in document["dependencies"]}
    assert needs["pkg:pypi/pandas@2.2.0"] == ["carried:mine@0.1", "pkg:pypi/numpy@2.0.0"]
    assert parts["pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64"]["version"] == "2.36-9+deb12u4"
    assert b"/home/me" not in bill


def test_the_same_lock_gives_the_same_bytes(tmp_path: Path) -> None:
    assert sbom.sbom(lock(tmp_path), "x.ipynb") == sbom.sbom(lock(tmp_path), "x.ipynb")
    serial = json.loads(sbom.sbom(lock(tmp_path), "x.ipynb"))["serialNumber"]
    assert serial != json.loads(sbom.sbom(lock(tmp_path), "y.ipynb"))["serialNumber"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("MIT", [{"license": {"id": "MIT"}}]),
        ("MIT OR Apache-2.0", [{"expression": "MIT OR Apache-2.0"}]),
        ("BSD license", [{"license": {"name": "BSD license"}}]),
        ("My own AND worse", [{"license": {"name": "My own AND worse"}}]),
    ],
)
def test_licences_are_identifiers_only_where_they_are(words: str, expected: list[object]) -> None:
    assert sbom._licences(words) == expected
