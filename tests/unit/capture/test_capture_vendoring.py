from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from capture_world import environment, install, wheel

from jup2kub.capture import carried, pylock, vendoring, wheels
from jup2kub.capture.closure import Closed, Need, Roots
from jup2kub.capture.declared import wish
from jup2kub.capture.environment import Installed
from jup2kub.capture.resolve import Candidate, Unresolvable
from jup2kub.capture.wheels import Vendor
from jup2kub.capture.wishes import Weighed
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.model.env import EDITED, INSTALLED, LOCK_VERSION, VCS, Carried, Lock, travelling

FILES = {"toolz/__init__.py": "x = 1\n"}


class Index:
    """A package index in a folder; counts what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.asked = folder, 0
        folder.mkdir()
        monkeypatch.setattr(vendoring, "resolve", self.resolve)
        monkeypatch.setattr(vendoring, "fetch", self.fetch)

    def resolve(self, environment: object, requirements: list[str], **more: object) -> tuple[Candidate, ...]:
        self.asked += 1
        found = []
        for text in requirements:
            name = text.partition("==")[0].partition("[")[0]
            paths = sorted(self.folder.glob(f"{name}-{text.partition('==')[2] or '*'}-*.whl"))
            if not paths:
                raise Unresolvable(f"No matching distribution found for {text}", (name,))
            version = paths[-1].name.split("-")[1]
            found.append(
                Candidate(name, version, f"https://u:p@host/{paths[-1].name}", wheels.file_sha256(paths[-1]))
            )
        return tuple(found)

    def fetch(self, environment: object, candidates: list[Candidate], folder: Path) -> dict[str, Path]:
        found = {}
        for candidate in candidates:
            name = candidate.url.rpartition("/")[2]
            found[candidate.name] = Path(folder, name)
            found[candidate.name].write_bytes((self.folder / name).read_bytes())
        return found


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    return Index(tmp_path / "index", monkeypatch)


def test_a_wheel_counts_if_it_holds_what_is_installed_and_is_asked_for_once(
    tmp_path: Path, index: Index
) -> None:
    wheel(index.folder, "toolz", "1.0", FILES, ("six",))
    dist = install(tmp_path / "site", "toolz", "1.0", FILES, ("six",))
    here, vendor = environment(tmp_path, dist), Vendor(tmp_path / "cache")
    first = vendoring.installed_wheels(here, [dist], vendor)
    assert [(w.name, w.version, w.requires, w.imports, w.licence) for w in first.wheels] == [
        ("toolz", "1.0", ("six",), ("toolz",), "MIT")
    ]
    assert first.wheels[0].url == f"https://host/{first.wheels[0].filename}"
    assert vendor.path(first.wheels[0]).is_file()
    assert vendoring.installed_wheels(here, [dist], vendor) == first
    assert index.asked == 1


def test_a_wheel_with_other_files_is_a_strangers(tmp_path: Path, index: Index) -> None:
    wheel(index.folder, "toolz", "1.0", {"toolz/__init__.py": "import evil\n"})
    dist = install(tmp_path / "site", "toolz", "1.0", FILES)
    found = vendoring.installed_wheels(environment(tmp_path, dist), [dist], Vendor(tmp_path / "cache"))
    assert found.wheels == ()
    assert found.carried["toolz"][0] == INSTALLED
    assert "toolz/__init__.py" in found.carried["toolz"][1]


def test_what_no_index_has_is_carried_and_the_rest_is_not_lost(tmp_path: Path, index: Index) -> None:
    wheel(index.folder, "toolz", "1.0", FILES)
    dists = [
        install(tmp_path / "site", "toolz", "1.0", FILES),
        install(tmp_path / "site", "mine", "0.1", {"mine.py": ""}),
    ]
    here, vendor = environment(tmp_path, *dists), Vendor(tmp_path / "cache")
    found = vendoring.installed_wheels(here, dists, vendor)
    assert [w.name for w in found.wheels] == ["toolz"]
    assert found.carried == {"mine": (INSTALLED, vendoring.NO_WHEEL)}
    asked = index.asked
    assert vendoring.installed_wheels(here, dists, vendor) == found
    assert index.asked == asked


def test_a_wheel_that_is_damaged_in_the_cache_is_not_used(tmp_path: Path, index: Index) -> None:
    wheel(index.folder, "toolz", "1.0", FILES)
    dist = install(tmp_path / "site", "toolz", "1.0", FILES)
    vendor = Vendor(tmp_path / "cache")
    found = vendoring.installed_wheels(environment(tmp_path, dist), [dist], vendor).wheels[0]
    path = vendor.path(found)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(EnvironmentProblem, match="J2K672"):
        vendor.path(found)


def test_an_index_that_lies_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="J2K673"):
        Vendor(tmp_path / "cache").adopt(wheel(tmp_path, "toolz", "1.0", FILES), "0" * 64)


def test_what_is_asked_for_is_resolved_with_the_rest_as_installed(tmp_path: Path, index: Index) -> None:
    for version in ("0.9", "1.0"):
        wheel(index.folder, "toolz", version, FILES)
    wheel(index.folder, "six", "1.16", {"six.py": ""})
    site = tmp_path / "site"
    here = environment(
        tmp_path, install(site, "toolz", "1.0", FILES), install(site, "six", "1.16", {"six.py": ""})
    )
    found = Roots({"six": Need(["cell 0 imports six"]), "toolz": Need(["cell 0 imports toolz"])})
    closed = Closed(found.needs, {}, ())
    wanted = Weighed((wish("toolz==0.9", "requirements.txt line 1"),))
    vendor = Vendor(tmp_path / "cache")
    got = vendoring.resolved_wheels(here, found, closed, {}, wanted, vendor)
    assert {(w.name, w.version) for w in got.wheels} == {("toolz", "0.9"), ("six", "1.16")}
    asked = index.asked
    vendoring.resolved_wheels(here, found, closed, {}, wanted, vendor)
    assert index.asked == asked
    with pytest.raises(UsageError, match="J2K664"):
        vendoring.resolved_wheels(here, found, closed, {}, Weighed((wish("toolz==7", "cell 1"),)), vendor)


def test_edited_files_are_flagged_and_carried_as_they_are(tmp_path: Path) -> None:
    dist = install(tmp_path, "toolz", "1.0", FILES)
    assert carried.kind_of(dist) == ("", "")
    (tmp_path / "toolz" / "__init__.py").write_text("x = 2\n")
    kind, reason = carried.kind_of(dist)
    assert kind == EDITED
    assert "toolz/__init__.py" in reason
    entry = carried.carry(dist, kind, reason)
    assert [f.target for f in entry.files if "dist-info" not in f.target] == ["toolz/__init__.py"]
    assert entry.files[-1].sha256 == wheels.file_sha256(tmp_path / "toolz" / "__init__.py")


def test_what_has_no_list_of_files_is_carried_by_its_modules_or_refused(tmp_path: Path) -> None:
    site = tmp_path / "dist-packages"
    install(site, "old", "1.0", {"old/__init__.py": "x = 1\n"})
    dist = Installed(
        "old", "1.0", str(site / "old-1.0.egg-info"), str(site), editable={"old": str(site / "old")}
    )
    kind, reason = carried.kind_of(dist)
    assert kind == INSTALLED
    assert [f.target for f in carried.carry(dist, kind, reason).files] == ["old/__init__.py"]
    lost = replace(dist, editable={})
    with pytest.raises(EnvironmentProblem, match="J2K656"):
        carried.carry(lost, *carried.kind_of(lost))


def test_a_secret_in_a_carried_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "src" / "mine"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("\nkey = 'AKIA" + "IOSFODNN7QWERTYU'\n")
    dist = replace(install(tmp_path / "site", "mine", "0.1", {}), editable={"mine": str(source)})
    kind, reason = carried.kind_of(dist)
    with pytest.raises(UsageError, match=r"J2K680 mine: mine/__init__\.py line 2"):
        carried.carry(dist, kind, reason)


def test_the_lock_in_the_words_of_pep_751(tmp_path: Path) -> None:
    pylock_standard = pytest.importorskip("packaging.pylock")
    vendor = Vendor(tmp_path / "cache")
    sha256, path = vendor.adopt(wheel(tmp_path, "toolz", "1.0", FILES))
    made = wheels.read(path, sha256, "https://host/toolz-1.0-py3-none-any.whl")
    here = environment(tmp_path)
    repo = Carried(
        "repo", "1", VCS, "installed from git+https://host/repo.git at commit abc123", imports=("repo",)
    )
    lock = Lock(
        LOCK_VERSION,
        here.python,
        here.platform,
        (replace(made, requires=("repo",), why=('a "quoted" why',)),),
        (repo,),
    )
    text = pylock.text(lock, tmp_path, vendor.path)
    assert text == pylock.text(lock, tmp_path, vendor.path)
    document = tomllib.loads(text)
    pylock_standard.Pylock.from_dict(document)
    assert [p["name"] for p in document["packages"]] == ["repo", "toolz"]
    assert document["packages"][0]["vcs"] == {
        "type": "git",
        "url": "https://host/repo.git",
        "commit-id": "abc123",
    }
    assert document["packages"][1]["wheels"][0]["hashes"]["sha256"] == sha256
    unknown = replace(lock, wheels=(replace(made, url=""),))
    assert (
        tmp_path
        / tomllib.loads(pylock.text(unknown, tmp_path, vendor.path))["packages"][1]["wheels"][0]["path"]
    ).is_file()
    assert travelling(lock).python.executable == ""
    assert pylock.lock_digest(travelling(lock)) == pylock.lock_digest(lock)


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    vendor = Vendor(tmp_path / "file" / "wheels")
    with pytest.raises(EnvironmentProblem, match="cannot be written") as caught:
        vendor.remember("key", ())
    assert caught.value.code == "J2K674"
    assert "XDG_CACHE_HOME" in (caught.value.hint or "")
    with pytest.raises(EnvironmentProblem, match="J2K674"), vendor.waiting_room():
        raise AssertionError("there is no such room")
