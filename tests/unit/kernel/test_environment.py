"""Only what the notebook changed of the environment leaves the process, and nothing that looks secret."""

from __future__ import annotations

import pickle

import pytest

from jup2kub.kernel import ambient, environment


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CLOUD_TOKEN", "hush")
    monkeypatch.setenv("PLAIN", "before")
    monkeypatch.setenv("LEAVES", "soon")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # the test runner changes it in the middle of a test
    environment.begin()
    return monkeypatch


def test_only_changes_are_kept(started: pytest.MonkeyPatch) -> None:
    started.setenv("PLAIN", "after")
    started.setenv("NEW", "1")
    started.delenv("LEAVES")
    state = ambient.get("@env")
    state["set"].pop("PYTEST_CURRENT_TEST", None)
    assert state == {"set": {"PLAIN": "after", "NEW": "1"}, "gone": ["LEAVES"]}
    assert b"hush" not in pickle.dumps(state)


def test_changes_are_put_over_the_environment_of_the_start(started: pytest.MonkeyPatch) -> None:
    started.setenv("PLAIN", "after")
    started.delenv("LEAVES")
    state = ambient.get("@env")
    started.setenv("PLAIN", "something else")
    started.setenv("LEAVES", "again")
    started.setenv("STRAY", "1")
    ambient.put("@env", state)
    assert environment.changes() == state


@pytest.mark.parametrize("name", ["API_KEY", "MY_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH"])
def test_what_looks_secret_is_never_kept(started: pytest.MonkeyPatch, name: str) -> None:
    started.setenv(name, "hush")
    with pytest.raises(ambient.Unavailable, match=name) as refused:
        ambient.get("@env")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("name", ["KEYBOARD", "MONKEY_COUNT", "TOKYO", "PATH", "OMP_NUM_THREADS"])
def test_ordinary_names_are_not_taken_for_secrets(started: pytest.MonkeyPatch, name: str) -> None:
    started.setenv(name, "x")
    assert ambient.get("@env")["set"][name] == "x"
