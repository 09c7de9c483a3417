"""Four steps, against what users do today: a Dockerfile per step, built by buildah from the same base and wheels."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
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
    tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
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
    report(capsys, f"seconds for four steps, ours and theirs: {told}")
    assert theirs >= 5 * ours, told


def report(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Show a measurement, whether the test passes or not."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}; load of the machine {os.getloadavg()[0]:.1f}\n")


def image_id(folder: Path) -> str:
    done = subprocess.run(
        ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "overlay", "images", "-q"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()[0]


BEGINS = "import time; print(time.time_ns())"
STARTS = """
began=$(date +%s%N)
ctr -n {space} run --rm --read-only --mount type=tmpfs,src=tmpfs,dst=/tmp,options=rw:mode=1777 \\
  --mount type=tmpfs,src=tmpfs,dst=/home/j2k,options=rw:mode=1777 {image} {name} {words}
echo $began $(date +%s%N)
"""


@pytest.mark.measure
@pytest.mark.timeout(1800)
def test_how_long_the_container_of_a_step_takes_to_start(
    kit: Any, tmp_path: Path, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    imagelab.needs("mmdebstrap")
    node = imagelab.Node(kit)
    found = imagelab.build(imagelab.study(tmp_path), "--archive", str(tmp_path / "study.tar"))
    began = time.monotonic()
    node.load(tmp_path / "study.tar")
    unpacked = time.monotonic() - began
    step = found["images"][-1]

    def start(*words: str) -> tuple[str, int, int]:
        script = STARTS.format(
            space=node.space,
            image=step["reference"],
            name=f"j2k-{uuid.uuid4().hex[:8]}",
            words=" ".join(f"'{w}'" for w in words),
        )
        *said, times = kit("node", "shell", "1", "sh", "-c", script).splitlines()
        first, last = map(int, times.split())
        return "\n".join(said), first, last

    runs, agents = [], []
    for _ in range(7):
        said, first, _ = start("python", "-c", BEGINS)
        runs.append((int(said) - first) / 1e9)
        said, first, last = start(*step["entrypoint"], "agent", "--help")
        assert "jup2kub-agent" in said
        agents.append((last - first) / 1e9)
    told = {
        "unpacked": unpacked,
        "interpreter": statistics.median(runs),
        "agent": statistics.median(agents),
    }
    record_property("seconds", told)
    (tmp_path.parent / "image-start.json").write_text(json.dumps(told))
    report(capsys, f"seconds until Python, and the agent, run in a step's container (median of 7): {told}")
    assert told["interpreter"] < told["agent"], told
