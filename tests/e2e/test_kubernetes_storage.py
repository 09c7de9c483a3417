"""`--storage` on a real cluster: volumes of each kind that it has, and one that is too small."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import IMAGE, kubectl
from tests.e2e.drive import notebook
from tests.e2e.lab import HEAD, Lab, lab_fixture  # noqa: F401

pytestmark = pytest.mark.timeout(900)


def claim(name: str, storage_class: str, size: str = "1Gi", **more: object) -> str:
    """Return a claim as JSON."""
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class, **more}
    spec["resources"] = {"requests": {"storage": size}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    )


@contextlib.contextmanager
def small_disk(lab: Lab, megabytes: int) -> Iterator[str]:
    """Give a folder of node 1 on a file system of this size."""
    path = f"/mnt/{lab.namespace}"
    lab.kit("node", "shell", "1", "mkdir", "-p", path)
    lab.kit("node", "shell", "1", "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "none", path)
    try:
        yield path
    finally:
        lab.kit("node", "shell", "1", "umount", "-l", path)


def test_the_storage_is_full_and_the_run_goes_on_when_there_is_room(lab: Lab) -> None:
    """On a local volume that an administrator has made from what `render` wrote."""
    big = (
        "import numpy as np\nvalues = np.random.default_rng(1).random(6_000_000)\ntime.sleep(3)\nlen(values)"
    )
    cells = (HEAD, big, "b = work(4)\nb", "print(len(values) + b)")
    with small_disk(lab, 24) as path:
        where = f"local:{path}@node1"
        source = notebook(lab.project / "nb.ipynb", *cells)
        folder = str(lab.project.parent / "objects")
        refused = lab.start(*cells, more=("--storage", where))
        with refused:
            assert "only an administrator makes it" in refused.end(2)
        lab.cli(
            "render", str(source), "-o", folder, "-n", lab.namespace, "--image", IMAGE, "--storage", where
        )
        kubectl(lab.kit, "apply", "--server-side", "-f", f"{folder}/administrator.yaml")
        try:
            with lab.start(*cells, more=("--storage", where)) as run:
                lab.name(run)
                assert lab.server_node() == "node1"
                story = run.end()
            assert lab.outputs() == [[], ["6000000"], ["16"], ["6000016\n"]]
            assert "no space left for the store: results are not kept from here on" in story
            assert "ask for a larger one" in story
        finally:
            made = kubectl(lab.kit, "get", "-f", f"{folder}/administrator.yaml", "-o", "name").split()
            lab.kubectl("delete", "pvc", "--all", "--wait=true")
            kubectl(lab.kit, "delete", *made, "--wait=false")


def test_files_that_do_not_fit_into_the_storage_are_told_as_such(lab: Lab) -> None:
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{lab.namespace}-small"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": f"{lab.namespace}-small",
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
                            ]
                        }
                    ]
                }
            },
        },
    }
    (lab.project / "data.bin").write_bytes(os.urandom(40 << 20))
    with small_disk(lab, 16) as path:
        volume["spec"]["local"] = {"path": path}
        kubectl(lab.kit, "create", "-f", "-", given=json.dumps(volume))
        try:
            lab.kubectl("create", "-f", "-", given=claim("mine", f"{lab.namespace}-small"))
            with lab.start(HEAD, more=("--storage", "claim:mine")) as run:
                story = run.end(3)
            assert "J2K503" in story
            assert "ask for a larger one" in story
            assert lab.cluster.list("Deployment").items == ()
            assert [c["metadata"]["name"] for c in lab.cluster.list("PersistentVolumeClaim").items] == [
                "mine"
            ]
        finally:
            lab.kubectl("delete", "pvc", "--all", "--wait=true")
            kubectl(lab.kit, "delete", "pv", f"{lab.namespace}-small", "--wait=false")


@pytest.mark.parametrize("where", ["claim:mine", "class:{}"])
def test_a_claim_and_a_class_that_are_named_hold_the_store(lab: Lab, where: str) -> None:
    classes = {c["metadata"]["name"] for c in lab.cluster.list("StorageClass").items}
    chosen = "shared" if "shared" in classes else sorted(classes)[0]
    if where.startswith("claim:"):
        lab.kubectl("create", "-f", "-", given=claim("mine", chosen))
    with lab.start(HEAD, "a = work(2)\na", more=("--keep", "--storage", where.format(chosen))) as run:
        lab.name(run)
        server = lab.cluster.list("Pod", "app.kubernetes.io/component=server").items[0]
        run.end()
    assert lab.outputs() == [[], ["4"]]
    [used] = [
        v["persistentVolumeClaim"]["claimName"]
        for v in server["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    ]
    found = lab.cluster.get("PersistentVolumeClaim", used)
    assert found["spec"]["storageClassName"] == chosen
    assert (used == "mine") == where.startswith("claim:")
    lab.cli("delete", lab.names[0], "-n", lab.namespace)
    left = [c["metadata"]["name"] for c in lab.cluster.list("PersistentVolumeClaim").items]
    assert left == (["mine"] if where.startswith("claim:") else [])
