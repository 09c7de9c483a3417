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


OLD = "matplotlib==3.7.5\nscikit-image==0.20.0\nnumpy==1.24.4\nscipy==1.10.1\n"
TODAY = "matplotlib>=3.8\nscikit-image>=0.24\n"
WROTE_ONCE = (
    "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
    "plt.style.use('seaborn')  # removed from matplotlib 3.8",
    "import warnings\nwarnings.simplefilter('ignore')\nimport numpy as np\n"
    "from skimage.registration import phase_cross_correlation\n"
    "image = np.zeros((32, 32))\nimage[8:16, 8:16] = 1\nmask = np.ones_like(image, dtype=bool)\n"
    "moved = np.roll(image, (3, -2), axis=(0, 1))",
    "# a shift; with newer versions a shift, its error, and a phase\n"
    "down, right = phase_cross_correlation(image, moved, reference_mask=mask)\n"
    "print(matplotlib.__version__, round(float(down)), round(float(right)))",
)
RETURNS = WROTE_ONCE[1] + "\nprint(len(phase_cross_correlation(image, moved, reference_mask=mask)))"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_notebook_for_yesterdays_libraries_runs_from_its_lock_and_not_with_todays(
    node: Node, tmp_path: Path
) -> None:
    images = {}
    for name, wanted in (("old", OLD), ("today", TODAY)):
        notebook = imagelab.study(tmp_path / name, WROTE_ONCE)
        (tmp_path / name / "requirements.txt").write_text(wanted)
        (made,) = imagelab.build(notebook, "--archive", str(tmp_path / f"{name}.tar"))["images"]
        node.load(tmp_path / f"{name}.tar")
        images[name] = made["reference"]
    assert node.run(images["old"], "python", "/mnt/runnotebook.py").endswith("\n3.7.5 -3 2\n")
    today = node.run(images["today"], "sh", "-c", "python /mnt/runnotebook.py 2>&1 || true")
    assert "is not a valid package style" in today
    said = {
        name: node.run(image, "python", "-c", RETURNS.replace("'", '"')) for name, image in images.items()
    }
    assert said == {"old": "2\n", "today": "3\n"}
    bill = json.loads((tmp_path / "old.tar.cdx.json").read_text())
    refs = {c["bom-ref"] for c in bill["components"]}
    assert {"pkg:pypi/matplotlib@3.7.5", "pkg:pypi/scikit-image@0.20.0", "pkg:pypi/numpy@1.24.4"} <= refs
