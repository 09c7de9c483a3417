"""A run server whose store is a bucket: nothing of a run lies on the server's own disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.contract.buckets import KEYS, served

from .lab import Lab
from .test_faults import ANSWER, SECONDS, open_gate, starts, texts, three

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def test_a_server_that_is_killed_and_loses_its_disk_finds_the_run_in_its_bucket(tmp_path: Path) -> None:
    with served() as s3:
        cache = tmp_path / "cache"
        place = ("--store", "s3://runs/lab/nb", "--endpoint", s3.url, "--cache", str(cache))
        keys = {"AWS_ACCESS_KEY_ID": KEYS.name, "AWS_SECRET_ACCESS_KEY": KEYS.secret}
        with Lab(tmp_path / "lab", place=place, keys=keys) as lab:
            lab.hire(3)
            future = lab.begin(three(tmp_path))
            for cell in (1, 2, 3):
                lab.wait_for("start", cell)
            open_gate(tmp_path / "gate", "a")
            lab.wait_for("output", 1)
            lab.server.kill()
            lab.server.wait()
            shutil.rmtree(cache)
            lab.serve()
            for name in "bc":
                open_gate(tmp_path / "gate", name)
            assert texts(future.result(SECONDS)) == ANSWER
            assert (starts(lab, 1), starts(lab, 2), starts(lab, 3)) == (1, 1, 1)
        assert not (tmp_path / "lab" / "store").exists()
        names = {name.split("/")[0] for name, _ in s3.bucket("lab/nb").names("")}
        assert names >= {"blobs", "key", "memo", "runs", "store.json"}
