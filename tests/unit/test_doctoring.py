"""What `doctor` says of a machine on which something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from jup2kub import doctoring
from jup2kub.cli.main import main


def test_a_cache_that_cannot_be_written_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert doctoring._room().code == ""
    (tmp_path / "jup2kub").write_text("a file where the folder should be")
    found = doctoring._room()
    assert (found.state, found.code) == ("note", "J2K674")
    assert "XDG_CACHE_HOME" in found.hint


@pytest.mark.kernel
def test_the_store_that_was_named_is_looked_at(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no store")
    assert main(["doctor", "--store", str(tmp_path / "file")]) == 3
    assert "problem store: J2K504" in capfd.readouterr().out
    assert main(["doctor", "--store", str(tmp_path / "store")]) == 0
    assert f"ok      store: {tmp_path / 'store'}" in capfd.readouterr().out
