"""Debian's registry, as users run it: with and without a certificate of its own authority and a password; skopeo reads it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import imagelab
import pytest

PROGRAM = "docker-registry"
CONFIG = """
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {root}}}
http:
  addr: 127.0.0.1:{port}
{tls}{auth}
"""
CELLS = ("import numpy\nprint(numpy.ones(2).sum())",)


@dataclass(frozen=True)
class Server:
    """A registry that runs."""

    host: str
    env: dict[str, str] = field(default_factory=dict)
    """What a user sets to be let in."""
    skopeo: tuple[str, ...] = ()
    log: Path = Path()


@contextmanager
def registry(folder: Path, *, secured: bool) -> Iterator[Server]:
    """Run a registry on a free port."""
    imagelab.needs(PROGRAM, "skopeo", "openssl", "mmdebstrap")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = auth = ""
    env, words = {}, ["--tls-verify=false"]
    if secured:
        certificate(folder)
        if shutil.which("htpasswd") is None:
            pytest.skip("NOT TESTED, FOR THERE IS NO HTPASSWD (apache2-utils)")
        done = subprocess.run(
            ["htpasswd", "-Bbn", "ann", "s3cret-pw"], capture_output=True, text=True, check=True
        )
        (folder / "users").write_text(done.stdout)
        tls = f"  tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}\n"
        auth = f"auth:\n  htpasswd: {{realm: lab, path: {folder}/users}}\n"
        login = base64.b64encode(b"ann:s3cret-pw").decode()
        (folder / "config.json").write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": login}}}))
        env = {"SSL_CERT_FILE": str(folder / "ca.crt"), "DOCKER_CONFIG": str(folder)}
        words = ["--cert-dir", str(folder / "trust"), "--creds", "ann:s3cret-pw"]
    (folder / "config.yml").write_text(CONFIG.format(root=folder / "data", port=port, tls=tls, auth=auth))
    log = folder / "log"
    with log.open("wb") as out:
        running = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yml")], stdout=out, stderr=out)
        try:
            wait(port)
            yield Server(f"127.0.0.1:{port}", env, tuple(words), log)
        finally:
            running.terminate()
            running.wait(20)


def wait(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the registry does not come up")


def certificate(folder: Path) -> None:
    """Make an authority of our own, and a certificate of this machine's address."""
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab -keyout ca.key -out ca.crt"
        " -addext keyUsage=critical,keyCertSign,cRLSign",
        "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.crt",
    ):
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    (folder / "trust").mkdir()
    shutil.copy(folder / "ca.crt", folder / "trust" / "ca.crt")


@pytest.fixture(scope="module", params=[False, True], ids=["open", "TLS and password"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with registry(tmp_path_factory.mktemp("registry"), secured=request.param) as running:
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
    before = server.log.read_text().count('"PATCH ') + server.log.read_text().count(
        "http.request.method=PATCH"
    )
    imagelab.build(notebook, "--push", name(server, "another/name"), env=server.env)
    after = server.log.read_text().count('"PATCH ') + server.log.read_text().count(
        "http.request.method=PATCH"
    )
    assert before > 0
    assert after == before


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
    with registry(tmp_path, secured=True) as server:
        nobody = {**server.env, "DOCKER_CONFIG": str(tmp_path / "none"), "HOME": os.environ["HOME"]}
        said = imagelab.build(notebook, "--push", name(server, "lab/x"), env=nobody, code=3)["error"]
        assert "J2K622" in said
        assert f"docker login {server.host}" in said
        stranger = {"DOCKER_CONFIG": str(tmp_path), "SSL_CERT_FILE": ""}
        said = imagelab.build(notebook, "--push", name(server, "lab/x"), env=stranger, code=3)["error"]
        assert "J2K621" in said
        assert "certificate" in said
        assert "s3cret-pw" not in said
