from __future__ import annotations

from pathlib import Path

import pytest
from capture_world import environment

from jup2kub.capture import drift, pylock
from jup2kub.capture.drift import Change
from jup2kub.capture.resolve import Candidate, Unresolvable
from jup2kub.model.env import LOCK_VERSION, Lock, Wheel


def wheel(name: str, version: str, *why: str) -> Wheel:
    return Wheel(
        name, version, f"{name}-{version}-py3-none-any.whl", "a" * 64, 1, why=why, url=f"https://h/{name}"
    )


def lock(tmp_path: Path) -> Lock:
    here = environment(tmp_path)
    wheels = (
        wheel("gone", "1", "needed by pandas"),
        wheel("ipykernel", "7.0", "kernel"),
        wheel("numpy", "1.26.4", "requirements.txt line 2"),
        wheel("pandas", "2.2.0", "cell 1 imports pandas"),
        wheel("yaml", "6", "helper.py imports yaml"),
    )
    return Lock(LOCK_VERSION, here.python, here.platform, wheels, declared=("numpy<2",))


def test_what_a_newcomer_would_ask_for(tmp_path: Path) -> None:
    assert drift.asked(lock(tmp_path)) == ("ipykernel", "numpy<2", "pandas", "yaml")


def test_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = [("ipykernel", "7.0"), ("numpy", "1.26.5"), ("pandas", "3.0.0"), ("yaml", "6"), ("new", "1")]
    monkeypatch.setattr(
        drift, "resolve", lambda env, wanted: tuple(Candidate(n, v, "", "") for n, v in today)
    )
    found = drift.drift(lock(tmp_path), environment(tmp_path))
    assert [(c.name, c.locked, c.today, c.kind) for c in found.changes] == [
        ("gone", "1", "", "gone"),
        ("new", "", "1", "added"),
        ("numpy", "1.26.4", "1.26.5", "minor"),
        ("pandas", "2.2.0", "3.0.0", "major"),
    ]


def test_nothing_fits_together_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contradicts(environment: object, wanted: object) -> tuple[Candidate, ...]:
        raise Unresolvable("conflict", ())

    monkeypatch.setattr(drift, "resolve", contradicts)
    assert drift.drift(lock(tmp_path), environment(tmp_path)).unresolvable == "conflict"


def test_since_a_lock_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    assert drift.since(path, lock(tmp_path)) == ()
    path.write_text(pylock.text(lock(tmp_path), tmp_path, lambda w: tmp_path))
    assert drift.since(path, lock(tmp_path)) == ()
    path.write_text(path.read_text().replace('version = "2.2.0"', 'version = "2.1.0"'))
    assert drift.since(path, lock(tmp_path)) == (Change("pandas", "2.1.0", "2.2.0"),)
