"""A project, a namespace, and the command line in them: what tests of faults and of times share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import IMAGE, Kit, kubectl
from tests.e2e.drive import Cli, Started, notebook, outputs

from jup2kub.cluster import Cluster

HEAD = "import ctypes\nimport time\ndef work(seconds):\n    time.sleep(seconds)\n    return int(seconds) ** 2"


class Lab:
    """A project, a namespace, and the command line in them."""

    def __init__(self, kit: Kit, namespace: str, cluster: Cluster, folder: Path) -> None:
        self.kit, self.namespace, self.cluster = kit, namespace, cluster
        self.project = folder / "project"
        self.project.mkdir()
        self.cli = Cli(kit.kubeconfig, folder)
        self.names: list[str] = []

    def start(self, *cells: str, more: tuple[str, ...] = (), image: str = IMAGE) -> Started:
        source = notebook(self.project / "nb.ipynb", *cells)
        return self.cli.start(
            "run",
            str(source),
            "--on",
            "kubernetes",
            "--image",
            image,
            "-n",
            self.namespace,
            "--offload",
            "all",
            *more,
        )

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.project / "nb.executed.ipynb"

    def outputs(self) -> list[object]:
        return list(outputs(self.executed))

    def kubectl(self, *words: str, given: str = "") -> str:
        return kubectl(self.kit, "-n", self.namespace, *words, given=given)

    def name(self, run: Started) -> str:
        found = run.until(r"run (\w+) is in namespace")[1]
        self.names.append(found)
        return found

    def pod_of(self, run: Started, task: str, seconds: float = 240) -> str:
        """Wait until a task runs; return the pod that runs it."""
        name, limit = self.name(run), time.monotonic() + seconds
        while time.monotonic() < limit:
            done = self.cli("status", name, "--json", code=None)
            tasks = json.loads(done.stdout)["tasks"] if done.returncode == 0 else []
            for one in tasks:
                if one["task"] == task and one["state"] == "RUNNING" and one["attempts"]:
                    return str(one["attempts"][0]["worker"].rpartition(".")[0])
            time.sleep(0.5)
        raise AssertionError(f"{task} did not begin:\n{run.text}\n{done.stdout}")

    def running(self, name: str) -> dict[str, str]:
        """Return the nodes of all attempts that run now, by task."""
        done = self.cli("status", name, "--json", code=None)
        told = json.loads(done.stdout) if done.returncode == 0 else {"tasks": [], "pods": []}
        nodes = {pod["pod"]: pod["node"] for pod in told["pods"]}
        return {
            task["task"]: nodes.get(task["attempts"][-1]["worker"].rpartition(".")[0], "")
            for task in told["tasks"]
            if task["state"] == "RUNNING" and task["attempts"]
        }

    def server_node(self) -> str:
        """Return the node of the run server."""
        found = self.cluster.list("Pod", "app.kubernetes.io/component=server").items
        return str(found[0]["spec"]["nodeName"])

    def step_elsewhere(self, name: str, seconds: float = 120) -> list[str]:
        """Wait until steps run on another node than the run server's; return them, none if that does not come to pass."""
        server, limit = self.server_node(), time.monotonic() + seconds
        while time.monotonic() < limit:
            found = self.running(name)
            away = sorted(t for t, node in found.items() if t != "main" and node not in (server, ""))
            if away and found.get("main") == server:
                return away
            time.sleep(0.5)
        return []

    def node_of(self, pod: str) -> str:
        return str(self.cluster.get("Pod", pod)["spec"]["nodeName"])


@pytest.fixture(name="lab")
def lab_fixture(kit: Kit, namespace: str, cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """One namespace's laboratory; runs whose names it knows are removed at the end."""
    made = Lab(kit, namespace, cluster, tmp_path)
    yield made
    for name in made.names:
        made.cli("delete", name, "-n", namespace, code=None, seconds=120)
