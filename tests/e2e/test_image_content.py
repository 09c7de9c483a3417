"""What is in images: libraries as old as the notebook wants them, and no secret, in any byte after decompression."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import imagelab
import pytest
from imagelab import Node

from jup2kub.images import squeeze

SECRETS = {
    "aws": "AKIAQZ7PLANTED1EXMPL",
    "netrc": "netrc-pl4nted-pw",
    "dotenv": "dotenv-pl4nted-value",
    "environment": "env1ronment-pl4nted-token",
    "cell": "ghp_pl4ntedpl4ntedpl4ntedpl4ntedpl4nted",
}


@pytest.fixture
def node(kit: Any) -> Node:
    imagelab.needs("mmdebstrap")
    if kit.folder is None:
        pytest.skip("NOT TESTED: CONTAINERS ARE STARTED IN THE TEST CLUSTER'S OWN NODE")
    return Node(kit)


def plain(data: bytes) -> bytes:
    """Return what was compressed; of an archive every member's content, too."""
    if data[:2] == b"\x1f\x8b":
        return plain(gzip.decompress(data))
    if data[:4] == b"\x28\xb5\x2f\xfd":
        reader = squeeze.zstd_reader(io.BytesIO(data))
        assert reader is not None
        return plain(reader.read())
    return data


def everything(archive: Path) -> bytes:
    with tarfile.open(archive) as members:
        files = [members.extractfile(m) for m in members if m.isfile()]
        return b"\n".join(plain(f.read()) for f in files if f is not None)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant secrets where people keep them; return the notebook's folder."""
    home, folder = tmp_path / "home", tmp_path / "project"
    (home / ".aws").mkdir(parents=True)
    folder.mkdir()
    (home / ".aws" / "credentials").write_text(f"[default]\naws_access_key_id={SECRETS['aws']}\n")
    (home / ".netrc").write_text(f"machine a login b password {SECRETS['netrc']}\n")
    (folder / ".env").write_text(f"TOKEN={SECRETS['dotenv']}\n")
    monkeypatch.setenv("API_TOKEN", SECRETS["environment"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    monkeypatch.setenv("HOME", str(home))
    return folder


def test_no_secret_is_in_any_byte_of_an_archive_or_report(planted: Path, tmp_path: Path) -> None:
    imagelab.needs("mmdebstrap")
    cells = ("import helper, os\nhome = os.path.expanduser('~')\nprint(open('.env').read())",)
    imagelab.build(imagelab.study(planted, cells), "--archive", str(tmp_path / "a.tar"))
    data = everything(tmp_path / "a.tar") + (tmp_path / "a.tar.cdx.json").read_bytes()
    assert b"def line(x)" in data, "the search would find what is there"
    assert [name for name, secret in SECRETS.items() if secret.encode() in data] == []
    assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("where", ["cell", "module", "value"])
def test_a_secret_in_what_must_travel_is_refused_by_its_place(planted: Path, where: str) -> None:
    text = SECRETS["environment" if where == "value" else "cell"]
    cells = (f"import helper\ntoken = '{text}'",) if where != "module" else ("import helper",)
    notebook = imagelab.study(planted, cells)
    if where == "module":
        (planted / "helper.py").write_text(f"TOKEN = '{text}'\n")
    said = imagelab.build(notebook, code=2)["error"]
    assert "J2K680" in said
    assert ("helper.py line 1" if where == "module" else "cell 0 line 2") in said
    assert "Kubernetes Secret" in said
    assert text not in said


@pytest.mark.slow
def test_a_notebook_for_yesterdays_libraries_runs_from_its_lock(node: Node, tmp_path: Path) -> None:
    cells = (
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
        "plt.style.use('seaborn')  # removed from matplotlib 3.8\nprint(matplotlib.__version__)",
    )
    notebook = imagelab.study(tmp_path, cells)
    (tmp_path / "requirements.txt").write_text("matplotlib==3.7.5\nnumpy<2\n")
    (made,) = imagelab.build(notebook, "--archive", str(tmp_path / "old.tar"))["images"]
    node.load(tmp_path / "old.tar")
    assert node.run(made["reference"], "python", "/mnt/runnotebook.py").startswith("3.7.5\n")
    bill = json.loads((tmp_path / "old.tar.cdx.json").read_text())
    assert "pkg:pypi/matplotlib@3.7.5" in {c["bom-ref"] for c in bill["components"]}
