"""Four steps, against what users do today: a Dockerfile per step, built by buildah from the same base and wheels."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import imagelab
import pytest

DOCKERFILE = """\
FROM localhost/j2k-bench-base:1
USER root
COPY wheels /wheels
COPY requirements.txt /requirements.txt
RUN PIP_FIND_LINKS=/wheels python3.11 /wheels/{pip}/pip install --no-index --break-system-packages \
    --target /usr/local/lib/python3.11/dist-packages -r /requirements.txt
COPY step.json /app/step.json
ENTRYPOINT ["python3.11"]
"""


def buildah(folder: Path, *words: str) -> None:
    command = [
        "buildah",
        "--root",
        str(folder / "storage"),
        "--runroot",
        str(folder / "run"),
        "--storage-driver",
        "overlay",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def base_archive(cache: Path, archive: Path, folder: Path) -> Path:
    """Return an OCI archive of the two lowest layers of our main image: Debian, and what completes it."""
    held = folder / "base"
    held.mkdir()
    subprocess.run(["tar", "xf", str(archive), "-C", str(held)], check=True)
    index = json.loads((held / "index.json").read_text())
    first = held / "blobs" / "sha256" / index["manifests"][0]["digest"][7:]
    manifest = json.loads(first.read_text())
    config = json.loads((held / "blobs" / "sha256" / manifest["config"]["digest"][7:]).read_text())
    manifest["layers"] = manifest["layers"][:2]
    config["rootfs"]["diff_ids"] = config["rootfs"]["diff_ids"][:2]
    config["config"] = {}
    manifest["config"].update(blob(held, json.dumps(config).encode()))
    index["manifests"] = [{**blob(held, json.dumps(manifest).encode()), "mediaType": manifest["mediaType"]}]
    (held / "index.json").write_text(json.dumps(index))
    return held


def blob(layout: Path, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


@pytest.mark.measure
@pytest.mark.timeout(3600)
def test_four_steps_take_a_fifth_of_the_time_of_a_dockerfile_each(
    tmp_path: Path, record_property: Any
) -> None:
    imagelab.needs("buildah", "mmdebstrap")
    notebook = imagelab.study(tmp_path / "study")
    home = Path.home() / ".cache"
    imagelab.build(notebook, "--archive", str(tmp_path / "warm.tar"))
    made = imagelab.build(notebook, "--strategy", "dockerfile")["images"][1:]

    base = base_archive(home, tmp_path / "warm.tar", tmp_path)
    buildah(tmp_path, "pull", "--quiet", f"oci:{base}")
    buildah(tmp_path, "tag", image_id(tmp_path), "localhost/j2k-bench-base:1")
    pip = subprocess.run(
        ["python3", "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path / "pip"), "pip"],
        check=False,
    )
    assert pip.returncode == 0
    (wheel,) = (tmp_path / "pip").glob("pip-*.whl")
    theirs = 0.0
    for one in made:
        folder = Path(one["reference"])
        shutil.copy(wheel, folder / "wheels" / wheel.name)
        (folder / "Dockerfile").write_text(DOCKERFILE.format(pip=wheel.name))
        began = time.monotonic()
        buildah(tmp_path, "bud", "--isolation", "chroot", "--quiet", "-t", f"step-{one['step']}", str(folder))
        theirs += time.monotonic() - began

    cold = tmp_path / "cache"
    (cold / "jup2kub").mkdir(parents=True)
    (cold / "jup2kub" / "wheels").symlink_to(home / "jup2kub" / "wheels")
    lowest = json.loads(
        (
            base
            / "blobs/sha256"
            / json.loads((base / "index.json").read_text())["manifests"][0]["digest"][7:]
        ).read_text()
    )
    tar = base / "blobs" / "sha256" / lowest["layers"][0]["digest"][7:]
    began = time.monotonic()
    found = imagelab.build(notebook, "--base", str(tar), env={"XDG_CACHE_HOME": str(cold)})
    ours = time.monotonic() - began
    began = time.monotonic()
    imagelab.build(notebook, "--base", str(tar), env={"XDG_CACHE_HOME": str(cold)})
    again = time.monotonic() - began
    told = {"ours": ours, "again": again, "buildah": theirs, "bytes": found["images"][0]["bytes"]}
    told["unique"] = max(i["unique_bytes"] for i in found["images"][1:])
    record_property("seconds", told)
    (tmp_path.parent / "image-speed.json").write_text(json.dumps(told))
    assert theirs >= 5 * ours, told


def image_id(folder: Path) -> str:
    done = subprocess.run(
        ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "overlay", "images", "-q"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()[0]
