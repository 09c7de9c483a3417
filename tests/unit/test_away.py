"""What of a project's folder travels to a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from jup2kub import away
from jup2kub.errors import UsageError


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def test_files_and_folders_of_the_project_travel(tmp_path: Path) -> None:
    made(tmp_path, "nb.ipynb", "data/a.csv")
    (tmp_path / "empty").mkdir()
    assert away.project_files(tmp_path) == ["nb.ipynb", "data/a.csv"]
    assert away.project_folders(tmp_path) == ["data", "empty"]


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_environments_stay_whatever_they_are_called(tmp_path: Path, mark: str) -> None:
    made(tmp_path, "nb.ipynb", f"tools/{mark}", "tools/lib/module.py")
    assert away.project_files(tmp_path) == ["nb.ipynb"]
    assert away.project_folders(tmp_path) == []


def test_credentials_stay_and_are_named(tmp_path: Path) -> None:
    made(tmp_path, "nb.ipynb", ".env", ".env.example", "keys/server.key", ".aws/config")
    assert away.project_files(tmp_path) == [".env.example", "nb.ipynb"]
    assert sorted(away.credentials(tmp_path)) == [".aws/config", ".env", "keys/server.key"]


def test_a_project_may_lie_where_others_keep_credentials(tmp_path: Path) -> None:
    made(tmp_path / ".docker", "nb.ipynb")
    assert away.project_files(tmp_path / ".docker") == ["nb.ipynb"]


def test_too_many_bytes_are_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "nb.ipynb", "data.csv")
    monkeypatch.setattr(away, "MOST", 1)
    with pytest.raises(UsageError, match="more than travel") as refusal:
        away.project_files(tmp_path)
    assert refusal.value.code == "J2K241"
    assert "volume" in refusal.value.hint
