"""What end-to-end tests need: a cluster (any `KUBECONFIG`, else the test cluster beside the repository), and an image.

Where there is none the tests are skipped, and the summary says so in capitals.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jup2kub.cluster import Cluster, outside

ROOT = Path(__file__).parents[2]
KIT = Path(os.environ.get("J2K_TEST_CLUSTER_KIT", ROOT / ".." / "shared" / "cluster" / "up"))
OWN = Path(os.environ.get("JUP2KUB_CLUSTER_DIR", "/var/tmp/jup2kub-cluster"))
"""Where the test cluster keeps its kubeconfig: with another one in `KUBECONFIG`, that cluster is meant."""
IMAGE = os.environ.get("J2K_TEST_IMAGE", "localhost/j2k-science:1")
"""Python >= 3.9, ipykernel, numpy, pandas, scikit-learn, matplotlib; on every node. Built for the test cluster if it lacks it."""
PEACE = Path(tempfile.gettempdir()) / "jup2kub-e2e-peace"
"""Held by every test that runs; alone by one that stops a node or the API server under the others."""
IMPORTS = "import numpy, scipy, pandas, sklearn, matplotlib.pyplot"


@dataclass(frozen=True)
class Kit:
    """The test cluster's own commands, for faults that a KUBECONFIG alone cannot make."""

    folder: Path | None
    """None = the cluster was given by KUBECONFIG: nodes cannot be killed."""
    kubeconfig: str
    registry: str = ""
    """That nodes pull from, without encryption; empty = none is known."""

    def __call__(self, *words: str, seconds: float = 120) -> str:
        """Run `node kill 2`, `apiserver stop` and the like; skip the test on another cluster."""
        if self.folder is None:
            pytest.skip("THIS FAULT NEEDS THE TEST CLUSTER'S OWN COMMANDS")
        done = subprocess.run(
            [str(self.folder / words[0]), *words[1:]],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def held(path: Path, *, alone: bool) -> Iterator[None]:
    """Hold a file that several processes know, together with others or alone."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture(autouse=True)
def _peace(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let tests that take parts of the cluster away run alone."""
    with held(PEACE, alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Bring the cluster up once, with the image on its nodes."""
    named = os.environ.get("KUBECONFIG")
    if named and not (KIT.exists() and Path(named).parent == OWN):
        return Kit(None, named, os.environ.get("J2K_REGISTRY", ""))
    if not KIT.exists():
        pytest.skip("THERE IS NO CLUSTER HERE: set KUBECONFIG or J2K_TEST_CLUSTER_KIT")
    with held(PEACE.with_suffix(".up"), alone=True):
        done = subprocess.run([str(KIT)], capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            pytest.skip(f"THE TEST CLUSTER DOES NOT COME UP: {done.stderr[-500:]}")
        exported = dict(
            shlex.split(line)[1].split("=", 1)
            for line in done.stdout.splitlines()
            if line.startswith("export ")
        )
        found = Kit(KIT.parent, exported["KUBECONFIG"], exported["J2K_REGISTRY"])
        provide(found, tmp_path_factory.mktemp("science"))
    return found


def provide(kit: Kit, folder: Path) -> None:
    """Build the image with our own builder and load it, unless the nodes have it."""
    containerd = ("ctr", "-n", "k8s.io", "images")
    numbers = [name[-1] for name in kubectl(kit, "get", "nodes", "-o", "name").split()]
    if all(IMAGE in kit("node", "shell", n, *containerd, "ls", "-q").split() for n in numbers):
        return
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "source": IMPORTS,
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "science.ipynb").write_text(json.dumps(notebook))
    done = subprocess.run(
        [sys.executable, "-m", "jup2kub", "build", "science.ipynb", "--archive", "science.tar", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reference = json.loads(done.stdout)["images"][0]["reference"]
    kit("load", str(folder / "science.tar"), seconds=600)
    for number in numbers:
        kit("node", "shell", number, *containerd, "tag", "--force", reference, IMAGE)


def kubectl(kit: Kit, *words: str, given: str = "", seconds: float = 120) -> str:
    """Run kubectl as the administrator."""
    done = subprocess.run(
        ["kubectl", "--kubeconfig", kit.kubeconfig, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def namespace(kit: Kit) -> Iterator[str]:
    """A namespace of the test's own that enforces Pod Security “restricted”."""
    name = f"j2k-e2e-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl(kit, "create", "-f", "-", given=json.dumps(made))
    yield name
    kubectl(kit, "delete", "namespace", name, "--wait=false")


@pytest.fixture
def as_user(kit: Kit, namespace: str, tmp_path: Path) -> Callable[[str], Path]:
    """Make a kubeconfig of a user who has exactly this ClusterRole in the namespace."""

    def make(role: str) -> Path:
        account = f"user-{role}"
        kubectl(kit, "-n", namespace, "create", "serviceaccount", account)
        kubectl(
            kit, "-n", namespace, "create", "rolebinding", account, f"--clusterrole={role}",
            f"--serviceaccount={namespace}:{account}",
        )  # fmt: skip
        token = kubectl(kit, "-n", namespace, "create", "token", account, "--duration=2h").strip()
        config: dict[str, Any] = json.loads(kubectl(kit, "config", "view", "--raw", "--minify", "-o", "json"))
        config["users"] = [{"name": account, "user": {"token": token}}]
        config["contexts"][0]["context"].update(user=account, namespace=namespace)
        path = tmp_path / f"kubeconfig-{role}"
        path.write_text(json.dumps(config))
        return path

    return make


@pytest.fixture
def cluster(kit: Kit, namespace: str) -> Iterator[Cluster]:
    """The administrator's view of the namespace."""
    found = outside.connect("", namespace, {"KUBECONFIG": kit.kubeconfig})
    yield found
    found.close()
