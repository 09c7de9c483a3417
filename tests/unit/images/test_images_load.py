"""Images for engines of this machine: the very command lines, by programs that note how they were called."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import layer, load, oci, squeeze
from jup2kub.images.blobs import Blobs
from jup2kub.images.tree import Ground, file, settle

COMMANDS = {
    "containerd": ["ctr", "--namespace", "k8s.io", "images", "import", "--all-platforms"],
    "docker": ["docker", "load", "--input"],
    "kind": ["kind", "load", "image-archive"],
    "minikube": ["minikube", "image", "load"],
}
"""As their manuals have them."""


def program(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {folder}/said\n{does}\n')
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("engine", sorted(load.COMMANDS))
def test_each_engine_is_called_as_its_manual_says(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, COMMANDS[engine][0], "exit 0")
    load.load(engine, tmp_path / "a b.tar")
    said = (tmp_path / "said").read_text().splitlines()
    assert [Path(said[0]).name, *said[1:]] == [*COMMANDS[engine], str(tmp_path / "a b.tar")]


def test_an_engine_that_refuses_is_quoted_and_one_that_is_missing_has_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program(tmp_path, "kind", "echo 'ERROR: no nodes found for cluster \"kind\"' >&2; exit 1")
    with pytest.raises(EnvironmentProblem, match=r'J2K625.*no nodes found for cluster "kind"'):
        load.load("kind", tmp_path / "a.tar")
    with pytest.raises(EnvironmentProblem, match="`minikube`, which loads images into minikube, is not"):
        load.load("minikube", tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("version", "plain"), [("20.10.24+dfsg1", True), ("22.06.0", True), ("23.0.1", False), ("28.2.2", False)]
)
def test_only_an_old_docker_gets_plain_layers(
    version: str, plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "docker", f"echo {version}")
    assert load.wants_plain("docker") is plain
    assert not load.wants_plain("containerd")
    program(tmp_path, "docker", "exit 1")
    assert not load.wants_plain("docker")


def test_a_plain_archive_holds_the_tars_that_the_configuration_names(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "cache")
    made = layer.write(blobs, settle([file("a", b"x" * 5000)], Ground()), squeeze.kinds()[0])
    pulled = layer.from_record({**made.to_record(), "raw": 0})
    other = layer.write(blobs, settle([file("b", b"y")], Ground()), "gzip")
    images = [
        oci.assemble(blobs, "a:1", [made, other], oci.Command(("/a",))),
        oci.assemble(blobs, "b:1", [pulled], oci.Command(("/b",))),
    ]
    out = io.BytesIO()
    oci.plain_archive(blobs, images, out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        held = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    manifest = json.loads(held["manifest.json"])
    assert [m["RepoTags"] for m in manifest] == [["a:1"], ["b:1"]]
    assert len(held) == 2 + 2 + 1, "a layer that two images have is written once"
    for image, told in zip(images, manifest, strict=True):
        config = json.loads(held[told["Config"]])
        assert held[told["Config"]] == blobs.read(image.config)
        digests = [f"sha256:{hashlib.sha256(held[name]).hexdigest()}" for name in told["Layers"]]
        assert digests == config["rootfs"]["diff_ids"]
