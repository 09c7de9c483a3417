"""Pushing and pulling: nothing is sent twice, broken lines are taken up, and the user's own login is used."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from registryfake import Registry as Fake
from registryfake import serving

from jup2kub.errors import EnvironmentProblem
from jup2kub.images import credentials, layer, oci, pull, push, reference
from jup2kub.images.blobs import Blobs
from jup2kub.images.credentials import Credentials
from jup2kub.images.registry import Registry
from jup2kub.images.tree import file

ANN = Credentials("ann", "pw")


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "PIECE", 1000)


def image(blobs: Blobs, size: int = 4500) -> oci.Image:
    made = layer.write(blobs, [file("data", os.urandom(size))], "gzip", "data")
    return oci.assemble(blobs, "localhost/a:1", [made], oci.Command(("/bin/sh",)))


def pushed(
    fake: Fake, blobs: Blobs, one: oci.Image, path: str = "lab/a", who: Credentials | None = None
) -> tuple[dict[str, str], push.Progress]:
    told: list[push.Progress] = []
    target = reference.parse(f"{fake.address}/{path}")
    done = push.Push(blobs, Registry(target.server, who), target, told.append).images([("v1", one)])
    return done, told[-1]


def test_what_is_pushed_is_there_by_its_digest(blobs: Blobs) -> None:
    with serving(Fake()) as fake:
        one = image(blobs)
        done, progress = pushed(fake, blobs, one)
        assert done == {"v1": f"{fake.address[7:]}/lab/a@{one.manifest.digest}"}
        assert all(fake.blobs["lab/a", b.digest] == blobs.read(b) for b in one.blobs)
        assert fake.manifests["lab/a", "v1"] == blobs.read(one.manifest)
        assert progress.sent == progress.total == sum(b.size for b in one.blobs)


def test_nothing_is_sent_twice(blobs: Blobs) -> None:
    with serving(Fake()) as fake:
        one = image(blobs)
        pushed(fake, blobs, one)
        before = fake.received
        _, progress = pushed(fake, blobs, one)
        assert fake.received - before == one.manifest.size
        assert progress.spared == progress.total


def test_what_another_repository_has_is_mounted(blobs: Blobs) -> None:
    with serving(Fake()) as fake:
        one = image(blobs)
        pushed(fake, blobs, one)
        before = fake.received
        pushed(fake, blobs, one, "other/b")
        assert fake.received - before == one.manifest.size
        assert all(("other/b", b.digest) in fake.blobs for b in one.blobs)


def test_what_cannot_be_mounted_is_sent(blobs: Blobs) -> None:
    with serving(Fake()) as fake:
        one = image(blobs)
        pushed(fake, blobs, one)
        fake.blobs.clear()
        _, progress = pushed(fake, blobs, one, "other/b")
        assert progress.sent == progress.total


@pytest.mark.parametrize("breaks", [[1], [2, 4], [1, 2, 3]])
def test_after_a_broken_line_only_the_rest_is_sent(blobs: Blobs, breaks: list[int]) -> None:
    with serving(Fake(breaks=breaks)) as fake:
        one = image(blobs)
        _, progress = pushed(fake, blobs, one)
        assert all(fake.blobs["lab/a", b.digest] == blobs.read(b) for b in one.blobs)
        assert progress.sent == progress.total
        assert fake.received <= progress.total + one.manifest.size, "no byte that had arrived was sent again"


def test_a_busy_registry_is_asked_again(blobs: Blobs) -> None:
    with serving(Fake(busy=3)) as fake:
        one = image(blobs)
        assert pushed(fake, blobs, one)[1].sent == sum(b.size for b in one.blobs)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_is_used_where_it_is_asked_for(blobs: Blobs, auth: str) -> None:
    with serving(Fake(auth=auth)) as fake:
        one = image(blobs)
        pushed(fake, blobs, one, who=ANN)
        assert ("lab/a", "v1") in fake.manifests


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("who", [None, Credentials("ann", "wrong-pw")])
def test_a_refusal_says_what_to_do_and_not_the_password(
    blobs: Blobs, auth: str, who: Credentials | None
) -> None:
    with serving(Fake(auth=auth)) as fake, pytest.raises(EnvironmentProblem) as refused:
        pushed(fake, blobs, image(blobs), who=who)
    assert refused.value.code == "J2K622"
    assert "docker login" in str(refused.value.hint)
    assert "wrong-pw" not in f"{refused.value} {refused.value.hint} {who!r}"


def test_a_registry_that_is_not_there(blobs: Blobs) -> None:
    with pytest.raises(EnvironmentProblem) as missing:
        pushed(Fake(address="http://127.0.0.1:9"), blobs, image(blobs))
    assert missing.value.code == "J2K621"


def test_a_base_is_pulled_once_and_then_found_without_the_network(blobs: Blobs, tmp_path: Path) -> None:
    other = Blobs(tmp_path / "other")
    with serving(Fake()) as fake:
        one = image(blobs)
        done, _ = pushed(fake, blobs, one)
        source = reference.parse(f"http://{done['v1']}")
        found = pull.Pull(other, Registry(source.server), source, lambda *_: None).image("amd64")
        assert [x.blob for x in found.layers] == [x.blob for x in one.layers]
        assert found.name == done["v1"]
        assert [x.diff_id for x in found.layers] == [x.diff_id for x in one.layers]
    again = pull.Pull(other, Registry(source.server), source, lambda *_: None).image("amd64")
    assert again == found


def test_a_base_for_another_machine_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    with serving(Fake()) as fake:
        done, _ = pushed(fake, blobs, image(blobs))
        source = reference.parse(f"http://{done['v1']}")
        with pytest.raises(EnvironmentProblem, match=r"J2K617.*is made for linux/amd64.*for linux/arm64"):
            pull.Pull(Blobs(tmp_path / "o"), Registry(source.server), source, lambda *_: None).image("arm64")


def test_a_base_for_several_machines_and_not_for_this_one_is_refused_by_their_names(
    blobs: Blobs, tmp_path: Path
) -> None:
    platforms = [("linux", "amd64"), ("linux", "s390x"), ("unknown", "unknown")]
    with serving(Fake()) as fake:
        entries = [
            {"digest": "sha256:" + "0" * 64, "platform": {"os": o, "architecture": a}} for o, a in platforms
        ]
        fake.manifests["lab/a", "v1"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        source = reference.parse(f"{fake.address}/lab/a:v1")
        with pytest.raises(EnvironmentProblem, match=r"is made for linux/amd64, linux/s390x, and"):
            pull.Pull(Blobs(tmp_path / "o"), Registry(source.server), source, lambda *_: None).image("arm64")


def test_a_registry_that_sends_something_else_is_not_believed(blobs: Blobs, tmp_path: Path) -> None:
    with serving(Fake()) as fake:
        one = image(blobs)
        done, _ = pushed(fake, blobs, one)
        layer_blob = one.layers[0].blob
        fake.blobs["lab/a", layer_blob.digest] = b"x" * layer_blob.size
        source = reference.parse(f"http://{done['v1']}")
        with pytest.raises(EnvironmentProblem, match="J2K624"):
            pull.Pull(Blobs(tmp_path / "o"), Registry(source.server), source, lambda *_: None).image("amd64")


def test_credentials_are_found_where_logins_leave_them(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    config = {"auths": {"r.example": {"auth": "YW5uOnB3"}, "t.example/lab": {"identitytoken": "tok"}}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    assert credentials.find("r.example", "lab/a", {}, tmp_path) == ANN
    assert credentials.find("t.example", "lab/a", {}, tmp_path) == Credentials("<token>", "tok", True)
    assert credentials.find("t.example", "other/a", {}, tmp_path) is None
    assert credentials.find("r.example", "a", {"REGISTRY_AUTH_FILE": str(tmp_path / "none")}, tmp_path) == ANN


def test_a_credential_helper_is_asked(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    helper = tmp_path / "bin" / "docker-credential-fake"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = r.example ] && echo \'{"Username": "ann", "Secret": "pw"}\'\n'
    )
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "fake"}))
    environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "DOCKER_CONFIG": str(tmp_path)}
    found = credentials.find("r.example", "a", environ, tmp_path)
    assert found == ANN
    assert credentials.find("q.example", "a", environ, tmp_path) is None
