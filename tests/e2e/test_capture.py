"""Capture, packs, locks, images and drift with their real parts: ReproZip, pip, the builder, a container's root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drive import Cli, notebook
from keeping import inside, places_of, unpack

from jup2kub.capture import backends
from jup2kub.capture.packs import RUNNER

CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""Wheels and bases that were fetched once are not fetched by every test."""
LONG = pytest.mark.timeout(1200)
"""Packs are compressed by one thread at the highest level, and first builds fetch wheels and a base."""


def need_reprozip() -> None:
    why = backends._try_reprozip()
    if why:
        pytest.skip(f"REPROZIP DOES NOT WORK ON THIS MACHINE: {why}")


def need_builder() -> None:
    if shutil.which("mmdebstrap") is None:
        pytest.skip("THERE IS NO MMDEBSTRAP HERE: NO BASE CAN BE MADE")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command, with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {"HOME": str(home), "XDG_CACHE_HOME": CACHE, "REPROZIP_USAGE_STATS": "off"}
    return Cli(str(tmp_path / "no-kubeconfig"), tmp_path, kept)


STUDY = (
    "import csv\nimport helper",
    "rows = list(csv.reader(open('in.csv')))\nprint(len(rows))",
    "total = sum(helper.twice(int(r[0])) for r in rows[1:])\nprint('total', total)",
    "with open('out.txt', 'w') as file:\n    file.write(str(total))",
)


def study(folder: Path, *cells: str) -> Path:
    folder.mkdir()
    (folder / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    (folder / "in.csv").write_text("a,b\n1,2\n3,4\n")
    return notebook(folder / "study.ipynb", *(cells or STUDY))


def tag(path: Path, cell: int, name: str) -> None:
    document = json.loads(path.read_text())
    document["cells"][cell]["metadata"]["tags"] = [name]
    path.write_text(json.dumps(document))


@LONG
@pytest.mark.slow
def test_a_pack_of_a_part_runs_without_the_project(tmp_path: Path, cli: Cli) -> None:
    need_reprozip()
    path = study(tmp_path / "project")
    tag(path, 2, "fit")
    done = cli("capture", str(path), "-o", str(tmp_path / "kept"), "--split", "tag fit", "--rpz")
    assert "watched by reprozip" in done.stderr
    part = json.loads((tmp_path / "kept" / "02-fit.ipynb").read_text())
    assert part["metadata"]["jup2kub"]["part"] == {
        "number": 2,
        "title": "fit",
        "cells": [2, 3],
        "needs": [0, 1],
    }
    report = json.loads((tmp_path / "kept" / "environment.json").read_text())
    data = {d["path"]: (d["read_by"], d["written_by"]) for d in report["seen"]["data"]}
    assert data == {"in.csv": ([1], []), "out.txt": ([], [3])}
    assert report["modules"] == ["helper.py"]
    assert "argv" in (tmp_path / "kept" / "config.yml").read_text()
    shutil.move(tmp_path / "kept" / "02-fit.rpz", tmp_path / "fit.rpz")
    shutil.rmtree(tmp_path / "kept")
    shutil.rmtree(tmp_path / "project")
    reprounzip = [str(Path(sys.executable).parent / "reprounzip"), "directory"]
    env = cli.env()
    subprocess.run(
        [*reprounzip, "setup", str(tmp_path / "fit.rpz"), str(tmp_path / "unpacked")],
        env=env,
        check=True,
        timeout=300,
    )
    ran = subprocess.run(
        [*reprounzip, "run", str(tmp_path / "unpacked")],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # Its own exit code is 0 even if the program fails.
    assert "Command finished, status: 0" in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    assert "total 8" in ran.stdout
    assert "3\n" not in ran.stdout
    written = list((tmp_path / "unpacked" / "root").rglob("out.txt"))
    assert [p.read_text() for p in written] == ["8"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, cli: Cli) -> None:
    path = study(tmp_path / "project")
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    done = cli("capture", str(path), "-o", str(path.parent), "--rpz", code=2)
    assert "J2K657" in done.stderr
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


PLANTED = {
    name: f"planted{name}7d1f9c{number}".encode()
    for number, name in enumerate(("aws", "netrc", "dotenv", "environ", "output", "ssh"))
}


def plant(home: Path, project: Path) -> None:
    """Put secrets where people keep them."""
    for path, text in (
        (home / ".aws" / "credentials", b"[default]\naws_secret_access_key = " + PLANTED["aws"]),
        (home / ".netrc", b"machine data.example login me password " + PLANTED["netrc"]),
        (home / ".ssh" / "id_ed25519", PLANTED["ssh"]),
        (project / ".env", b"DATABASE_PASSWORD=" + PLANTED["dotenv"]),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.read_bytes() + text if path.exists() else text)


READS_SECRETS = (
    "import os, pathlib, subprocess\nhome = pathlib.Path.home()",
    "len((home / '.aws' / 'credentials').read_text() + (home / '.netrc').read_text() + open('.env').read())",
    "len(subprocess.run(['cat', str(home / '.ssh' / 'id_ed25519')], capture_output=True).stdout)",
    "os.environ.get('SERVICE_TOKEN', 'not given')",
    "rows = open('in.csv').read()",
)


@LONG
@pytest.mark.slow
def test_planted_secrets_are_in_nothing_that_is_made(tmp_path: Path, cli: Cli) -> None:
    need_reprozip()
    need_builder()
    project = tmp_path / "project"
    path = study(project, *READS_SECRETS)
    document = json.loads(path.read_text())
    output = {"output_type": "stream", "name": "stdout", "text": [PLANTED["output"].decode()]}
    document["cells"][0]["outputs"] = [output]
    path.write_text(json.dumps(document))
    plant(tmp_path / "home", project)
    cli.environ["SERVICE_TOKEN"] = PLANTED["environ"].decode()
    made = tmp_path / "made"
    made.mkdir()
    said = [
        cli("capture", str(path), "-o", str(made / "capture"), "--rpz"),
        cli("lock", str(path), "-o", str(made / "pylock.toml"), "--json"),
        cli("build", str(path), "--archive", str(made / "images.tar"), "--json"),
    ]
    for number, done in enumerate(said):
        (made / f"said-{number}.txt").write_text(done.stdout + done.stderr)
    report = json.loads((made / "capture" / "environment.json").read_text())
    withheld = " ".join(report["seen"]["withheld"])
    for name in (".aws/credentials", ".netrc", ".env", "id_ed25519"):
        assert name in withheld
        assert f"{name}" in said[0].stderr
    assert "Kubernetes Secret" in said[0].stderr
    assert [p.name for p in (made / "capture").glob("*.rpz")] == ["01-study.rpz"]
    assert places_of(PLANTED, made) == {}
    # The search itself finds what is there, in a layer of the archive and in a pack.
    assert places_of({"csv": b"a,b\n1,2\n3,4"}, *(made / "capture").glob("*.rpz"))
    assert places_of({"agent": b"jup2kub.pod"}, made / "images.tar")


@LONG
@pytest.mark.slow
def test_a_secret_in_a_cell_is_refused_by_every_command(tmp_path: Path, cli: Cli) -> None:
    project = tmp_path / "project"
    path = study(project, "x = 1", "import os\nos.environ['API_KEY'] = 'planted" + "cell7d1f9c'")
    for words in (["capture", "--rpz"], ["lock"], ["build", "--archive", str(tmp_path / "images.tar")]):
        done = cli(words[0], str(path), *words[1:], code=2)
        assert "J2K680 cell 1 line 2" in done.stderr
        assert "kubectl create secret" in done.stderr
        assert "plantedcell" not in done.stdout + done.stderr
    left = {p.name for p in project.rglob("*") if p.is_file()}
    assert left == {"study.ipynb", "helper.py", "in.csv"}
    assert not (tmp_path / "images.tar").exists()


OLD = (
    "import numpy as np\nimport matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
    "plt.style.use('seaborn-whitegrid')\nprint('style', matplotlib.__version__)",
    "from skimage.registration import phase_cross_correlation\n"
    "a = np.zeros((16, 16))\na[4:8, 4:8] = 1\n"
    "shift = phase_cross_correlation(a, np.roll(a, 2, 0), return_error=False)\nprint('shift', np.asarray(shift).shape)",
)


@LONG
@pytest.mark.slow
def test_a_notebook_that_todays_libraries_no_longer_run_is_built_with_its_own(
    tmp_path: Path, cli: Cli
) -> None:
    need_builder()
    if os.geteuid() != 0:
        pytest.skip("ONLY ROOT MAY CHANGE THE ROOT FOLDER OF A PROCESS")
    project = tmp_path / "project"
    project.mkdir()
    path = notebook(project / "old.ipynb", *OLD)
    today = cli("run", str(path), "-o", str(project / "today.ipynb"), code=1)
    assert "seaborn-whitegrid" in (project / "today.ipynb").read_text() + today.stderr
    (project / "requirements.txt").write_text("matplotlib==3.7.5\nnumpy==1.26.4\nscikit-image==0.20.0\n")
    archive = tmp_path / "old.tar"
    cli("build", str(path), "--archive", str(archive))
    root = unpack(archive, tmp_path / "root")
    shutil.copy(RUNNER, root / "tmp" / "run_part.py")
    document = json.loads(path.read_text())
    document["metadata"]["jup2kub"] = {"part": {"needs": []}}
    (root / "tmp" / "old.ipynb").write_text(json.dumps(document))
    command = [
        "/opt/j2k/env/bin/python",
        "-W",
        "ignore",
        "/tmp/run_part.py",
        "/tmp/old.ipynb",
        "/tmp/old.ipynb",
    ]
    ran = subprocess.run(
        ["chroot", str(root), "/usr/bin/env", "-i", "HOME=/tmp", "PATH=/usr/bin:/bin", *command],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "style 3.7.5" in ran.stdout
    assert "shift (2,)" in ran.stdout


@LONG
@pytest.mark.slow
def test_drift_and_a_second_build_from_what_is_kept(tmp_path: Path, cli: Cli) -> None:
    need_builder()
    project = tmp_path / "project"
    path = study(project, "import toolz", "print(toolz.__version__)")
    (project / "requirements.txt").write_text("toolz==0.12.0\n")
    cli("lock", str(path))
    (project / "requirements.txt").write_text("toolz\n")
    done = cli("doctor", str(path), "--drift", "--json")
    found = json.loads(done.stdout)
    assert found["rebuilt"]["same"] is True
    assert [i["digest"] for i in found["rebuilt"]["images"]] == [
        i["again"] for i in found["rebuilt"]["images"]
    ]
    assert found["unresolvable"] == ""
    since = {c["name"]: (c["locked"], c["today"]) for c in found["environment"]}
    assert since["toolz"][0] == "0.12.0"
    assert since["toolz"][1] not in ("", "0.12.0")


def test_the_search_looks_into_archives_in_archives(tmp_path: Path) -> None:
    import io
    import tarfile

    import zstandard

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        entry = tarfile.TarInfo("deep")
        entry.size = 6
        archive.addfile(entry, io.BytesIO(b"needle"))
    data = zstandard.ZstdCompressor().compress(inner.getvalue())
    assert any(b"needle" in found for _, found in inside(data, "x"))
