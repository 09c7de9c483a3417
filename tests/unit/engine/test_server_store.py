"""Where the process of a run server keeps its store."""

from __future__ import annotations

import contextlib
import errno
import json
from pathlib import Path

import pytest

from jup2kub.engine.server import __main__ as server
from jup2kub.engine.server.storeapi import StoreApi
from jup2kub.engine.server.web import answered
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


def test_a_full_volume_is_told_at_once_with_a_way_out_and_keeps_no_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(FileStore(tmp_path / "s")) as store:
        api, sha256 = StoreApi(store), "ab" * 32
        assert api.put(sha256, 20, 0, b"0123456789") == 10
        [part] = list((tmp_path / "s").rglob("part"))

        class Full:
            def __init__(self, *_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("jup2kub.engine.server.storeapi.open", Full, raising=False)
        status, body, _ = answered(lambda: (200, str(api.put(sha256, 20, 10, b"0123456789")).encode(), {}))
        told = json.loads(body)["error"]
        assert (status, told["code"]) == (409, "J2K503")
        assert "ask for a larger one" in told["hint"]
        assert not part.exists()
        monkeypatch.undo()
        assert api.have(sha256, 20) == -1
