"""Where the process of a run server keeps its store."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from jup2kub.engine.server import __main__ as server
from jup2kub.errors import StoreProblem, UsageError
from jup2kub.store.files import FileStore


def test_a_path_is_a_folder(tmp_path: Path) -> None:
    wanted = server.options(["--store", str(tmp_path / "s")], {})
    with contextlib.closing(server.opened(wanted, {})) as store:
        assert isinstance(store, FileStore)
        assert store.root == tmp_path / "s"


def test_a_bucket_needs_a_local_folder() -> None:
    with pytest.raises(UsageError) as caught:
        server.opened(server.options(["--store", "s3://bucket/x"], {}), {})
    assert caught.value.code == "J2K715"


def test_a_bucket_needs_keys(tmp_path: Path) -> None:
    words = ["--store", "s3://bucket/x", "--cache", str(tmp_path)]
    with pytest.raises(StoreProblem) as caught:
        server.opened(server.options(words, {}), {})
    assert caught.value.code == "J2K530"
