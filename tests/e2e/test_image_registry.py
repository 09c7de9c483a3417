"""Debian's registry, as users run it: open, with a password, with tokens of a separate issuer; skopeo reads it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imagelab
import pytest
import registrylab
from registrylab import Server, registry

CELLS = ("import numpy\nprint(numpy.ones(2).sum())",)


@pytest.fixture(scope="module", params=["open", "password", "token"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with registry(tmp_path_factory.mktemp("registry"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagelab.study(tmp_path_factory.mktemp("small"), CELLS)


def name(server: Server, repository: str) -> str:
    scheme = "https://" if server.env else ""
    return f"{scheme}{server.host}/{repository}"


def test_skopeo_reads_what_was_pushed(server: Server, notebook: Path, tmp_path: Path) -> None:
    (made,) = imagelab.build(notebook, "--push", name(server, "lab/small"), env=server.env)["images"]
    assert made["reference"] == f"{server.host}/lab/small@{made['digest']}"
    said = subprocess.run(
        ["skopeo", "inspect", *server.skopeo, f"docker://{made['reference']}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["Digest"] == made["digest"]
    assert told["Labels"]["dev.jup2kub.notebook.sha256"]
    words = [
        w.replace("--tls", "--src-tls").replace("--cert", "--src-cert").replace("--creds", "--src-creds")
        for w in server.skopeo
    ]
    copied = subprocess.run(
        ["skopeo", "copy", "--preserve-digests", *words, f"docker://{made['reference']}", f"oci:{tmp_path}/copy:x"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert copied.returncode == 0, copied.stderr
    blobs = {p.name for p in (tmp_path / "copy" / "blobs" / "sha256").iterdir()}
    assert made["digest"].removeprefix("sha256:") in blobs


def test_the_blobs_of_another_repository_are_mounted(server: Server, notebook: Path) -> None:
    imagelab.build(notebook, "--push", name(server, "lab/small"), env=server.env)
    before = server.uploads
    imagelab.build(notebook, "--push", name(server, "another/name"), env=server.env)
    assert before > 0
    assert server.uploads == before


def test_a_pushed_image_is_a_base(server: Server, notebook: Path, tmp_path: Path) -> None:
    (made,) = imagelab.build(notebook, "--push", name(server, "lab/small"), env=server.env)["images"]
    scheme = "https://" if server.env else ""
    other = imagelab.study(tmp_path, ("import numpy\nprint(1)",))
    env = {**server.env, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "cache" / "jup2kub").mkdir(parents=True)
    (tmp_path / "cache" / "jup2kub" / "wheels").symlink_to(Path.home() / ".cache/jup2kub/wheels")
    (found,) = imagelab.build(other, "--base", f"{scheme}{made['reference']}", env=env)["images"]
    assert found["digest"] != made["digest"]
    assert found["bytes"] > made["bytes"]


def test_without_a_login_or_trust_the_error_says_what_to_do(notebook: Path, tmp_path: Path) -> None:
    with registry(tmp_path, "password") as server:
        nobody = {**server.env, "DOCKER_CONFIG": str(tmp_path / "none"), "HOME": os.environ["HOME"]}
        said = imagelab.build(notebook, "--push", name(server, "lab/x"), env=nobody, code=3)["error"]
        assert "J2K622" in said
        assert f"docker login {server.host}" in said
        stranger = {"DOCKER_CONFIG": str(tmp_path), "SSL_CERT_FILE": ""}
        said = imagelab.build(notebook, "--push", name(server, "lab/x"), env=stranger, code=3)["error"]
        assert "J2K621" in said
        assert "certificate" in said
        assert "s3cret-pw" not in said


def test_an_identity_token_serves_instead_of_a_password(notebook: Path, tmp_path: Path) -> None:
    with registry(tmp_path, "token") as server:
        registrylab.know(tmp_path, server.host, identity=registrylab.IDENTITY)
        (made,) = imagelab.build(notebook, "--push", name(server, "lab/x"), env=server.env)["images"]
        assert made["reference"].startswith(server.host)
        assert ("repository:lab/x:pull,push",) in server.issued


def test_what_the_issuer_does_not_allow_is_refused_in_its_own_words(notebook: Path, tmp_path: Path) -> None:
    with registry(tmp_path, "token") as server:
        said = imagelab.build(notebook, "--push", name(server, "private/x"), env=server.env, code=3)["error"]
        assert "J2K622" in said
        assert "insufficient_scope: repository:private/x:pull" in said
        registrylab.know(tmp_path, server.host, identity="a wrong one")
        said = imagelab.build(notebook, "--push", name(server, "lab/x"), env=server.env, code=3)["error"]
        assert "J2K622" in said
        assert "who are you?" in said
