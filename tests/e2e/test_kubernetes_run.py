"""A notebook goes to a cluster with one command, and comes back as a sequential run would have left it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.e2e.conftest import IMAGE, Kit, kubectl
from tests.e2e.drive import Cli, notebook, outputs

from jup2kub.cluster import Cluster

pytestmark = pytest.mark.timeout(900)

WORK = """
def work(seed, seconds=6):
    rng = np.random.default_rng(seed)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return float(rng.normal(size=1000).sum())
"""
CELLS = (
    "import time\nimport numpy as np\nfrom pathlib import Path",
    "text = Path('in.txt').read_text()\ntext",
    WORK.strip(),
    "a = work(1)\na",
    "b = work(2)\nprint('b', round(b, 6))",
    "c = work(3)\nPath('c.txt').write_text(f'{c:.6f}')",
    "squares = []\nfor i in range(8):\n    squares.append(round(work(i, 0.05), 6))\nsquares",
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([a, b, c]);",
    "print(text, round(a + b + c, 6), len(squares))",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "in.txt").write_text("hello")
    return folder


def on(namespace: str, *more: str) -> list[str]:
    return ["--on", "kubernetes", "--image", IMAGE, "-n", namespace, *more]


def nothing_left(kit: Kit, namespace: str, *kinds: str) -> None:
    kinds = kinds or (
        "deployments",
        "jobs",
        "pods",
        "services",
        "secrets",
        "poddisruptionbudgets",
        "networkpolicies",
        "roles",
        "rolebindings",
    )
    found = kubectl(
        kit,
        "-n",
        namespace,
        "get",
        ",".join(kinds),
        "-l",
        "app.kubernetes.io/managed-by=jup2kub",
        "-o",
        "name",
    )
    assert found.split() == []


@pytest.mark.alone
def test_the_notebook_comes_back_as_a_sequential_run_leaves_it(
    kit: Kit, namespace: str, cluster: Cluster, project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "study.ipynb", *CELLS)
    cli = Cli(kit.kubeconfig, tmp_path)
    nodes: set[frozenset[str]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            pods = cluster.list("Pod", "app.kubernetes.io/component=agent").items
            running = [p for p in pods if p.get("status", {}).get("phase") == "Running"]
            nodes.add(frozenset(p["spec"]["nodeName"] for p in running))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    done = cli(
        "run",
        str(source),
        "-o",
        str(project / "far.ipynb"),
        *on(namespace, "--parallelism", "3", "--cpu", "0.9"),
        "--offload",
        "all",
        "--json",
    )
    over.set()
    watcher.join()
    told = json.loads(done.stdout)
    assert told["state"] == "done"
    assert {3, 4} & set(told["steps"]), done.stderr
    assert (project / "c.txt").read_text() == f"{float((project / 'c.txt').read_text()):.6f}"
    written = (project / "c.txt").read_text()
    (project / "c.txt").unlink()
    cli("run", str(source), "-o", str(project / "near.ipynb"), "--plan", "serial")
    assert outputs(project / "far.ipynb") == outputs(project / "near.ipynb")
    assert written == (project / "c.txt").read_text()
    nothing_left(kit, namespace)
    if len(cluster.list("Node").items) > 1:
        assert any(len(found) > 1 for found in nodes), f"agents ran on {nodes}"


def test_a_user_with_exactly_edit_needs_no_more(
    kit: Kit, namespace: str, as_user: Callable[[str], Path], project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "small.ipynb", *CELLS[:3], "a = work(1, 1)\na")
    cli = Cli(str(as_user("edit")), tmp_path)
    done = cli("run", str(source), *on(namespace))
    assert "you may make no Roles here" in done.stderr
    assert len(outputs(project / "small.executed.ipynb")[3]) == 1
    nothing_left(kit, namespace)


def test_a_user_who_may_not_use_the_service_proxy_forwards_a_port(
    kit: Kit, namespace: str, as_user: Callable[[str], Path], project: Path, tmp_path: Path
) -> None:
    name = f"{namespace}-no-proxy"
    edit = json.loads(kubectl(kit, "get", "clusterrole", "edit", "-o", "json"))
    rules = [
        {**rule, "resources": [r for r in rule["resources"] if r != "services/proxy"]}
        for rule in edit["rules"]
    ]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    kubectl(kit, "create", "-f", "-", given=json.dumps({**role, "rules": rules}))
    try:
        source = notebook(
            project / "small.ipynb", *CELLS[:3], "a = work(1, 1)\nPath('a.bin').write_bytes(b'x' * 3_000_000)"
        )
        (project / "data.bin").write_bytes(bytes(range(256)) * 80_000)
        done = Cli(str(as_user(name)), tmp_path)("run", str(source), *on(namespace))
    finally:
        kubectl(kit, "delete", "clusterrole", name)
    assert "files travel through a port-forward" in done.stderr
    assert outputs(project / "small.executed.ipynb")[3] == ["3000000"]
    assert (project / "a.bin").read_bytes() == b"x" * 3_000_000
    nothing_left(kit, namespace)


def test_a_user_without_rights_is_told_which(
    kit: Kit, namespace: str, as_user: Callable[[str], Path], project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "small.ipynb", "1")
    done = Cli(str(as_user("view")), tmp_path)("run", str(source), *on(namespace), code=3)
    assert "J2K722" in done.stderr
    assert "create deployments.apps" in done.stderr
    nothing_left(kit, namespace)


def test_ctrl_c_leaves_the_run_and_collect_brings_it_back(
    kit: Kit, namespace: str, project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "long.ipynb", *CELLS[:3], "a = sum(i * i for i in range(40_000_000))\na")
    cli = Cli(kit.kubeconfig, tmp_path)
    with cli.start("run", str(source), *on(namespace)) as run:
        name = run.until(r"run (\w+) is in namespace")[1]
        run.interrupt()
        story = run.end(130)
    assert f"jup2kub collect {name}" in story
    assert f"jup2kub cancel {name}" in story
    assert name in cli("runs").stdout
    state = json.loads(cli("status", name, "--json").stdout)
    assert state["run"] == name
    assert not (project / "long.executed.ipynb").exists()
    cli("collect", name)
    assert len(outputs(project / "long.executed.ipynb")[3]) == 1
    nothing_left(kit, namespace)
    again = cli("run", str(source), *on(namespace), "--json")
    assert 3 in json.loads(again.stdout)["kept"], "what was finished is kept for the next run of the notebook"


def test_cancel_logs_and_delete(kit: Kit, namespace: str, project: Path, tmp_path: Path) -> None:
    source = notebook(project / "long.ipynb", *CELLS[:3], "print('begun', flush=True)\na = work(1, 300)")
    cli = Cli(kit.kubeconfig, tmp_path)
    with cli.start("run", str(source), *on(namespace)) as run:
        name = run.until(r"run (\w+) is in namespace")[1]
        run.until(r"cell 0 |cell 3 starts")
        assert "main line" in cli("status", name).stdout
        assert "run server" in cli("logs", name).stdout
        cli("cancel", name)
        story = run.end(None, 120)
        assert run.process.returncode != 0
    assert "cancelled" in story
    cli("delete", name)
    nothing_left(
        kit, namespace, "deployments", "jobs", "pods", "services", "secrets", "persistentvolumeclaims"
    )
    foreign = kubectl(kit, "-n", namespace, "get", "configmap", "kube-root-ca.crt", "-o", "name")
    assert foreign.strip() == "configmap/kube-root-ca.crt"


def test_a_cell_that_raises_comes_back_with_its_traceback(
    kit: Kit, namespace: str, project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "bad.ipynb", "x = 1", "1 / 0", "print('never')")
    done = Cli(kit.kubeconfig, tmp_path)("run", str(source), *on(namespace), code=1)
    assert "ZeroDivisionError" in done.stderr
    assert outputs(project / "bad.executed.ipynb") == [[], [("ZeroDivisionError", "division by zero")], []]
    nothing_left(kit, namespace)


def test_the_rendered_folder_is_taken_by_kubectl(
    kit: Kit, namespace: str, project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "small.ipynb", "1")
    cli = Cli(kit.kubeconfig, tmp_path)
    cli(
        "render",
        str(source),
        "-o",
        str(tmp_path / "objects"),
        "--image",
        IMAGE,
        "-n",
        namespace,
        "--run",
        "rendered",
    )
    words = [
        "kubectl",
        "--kubeconfig",
        kit.kubeconfig,
        "apply",
        "--server-side",
        "-k",
        str(tmp_path / "objects"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kubectl(
        kit,
        "-n",
        namespace,
        "rollout",
        "status",
        "deployment/j2k-rendered-server",
        "--timeout=120s",
        seconds=130,
    )
    answer = cli("service", "j2k-rendered", "-n", namespace, "--path", "/healthz")
    assert answer.stdout == "ok\n"
    listed = yaml.safe_load((tmp_path / "objects" / "kustomization.yaml").read_text())["resources"]
    assert len(done.stdout.splitlines()) == len(listed)
    cli("delete", "rendered", "-n", namespace)
    nothing_left(kit, namespace)


def test_a_service_that_is_not_there_is_an_answer_too(kit: Kit, namespace: str, tmp_path: Path) -> None:
    done = Cli(kit.kubeconfig, tmp_path)("service", "nowhere", "-n", namespace, "--json", code=3)
    assert "not found" in json.loads(done.stdout)["problem"]


def test_a_server_that_never_starts_leaves_nothing(
    kit: Kit, namespace: str, project: Path, tmp_path: Path
) -> None:
    source = notebook(project / "small.ipynb", "1")
    cli = Cli(kit.kubeconfig, tmp_path)
    with cli.start("run", str(source), *on(namespace, "--storage", "class:no-such-class")) as run:
        run.until(r"server: waiting for a node: .*(claim|PersistentVolume)")
        run.interrupt()
        run.end(130)
    nothing_left(kit, namespace)


def test_verify_writes_the_certificate(kit: Kit, namespace: str, project: Path, tmp_path: Path) -> None:
    source = notebook(
        project / "study.ipynb", *CELLS[:3], "a = work(1, 1)\na", "b = work(2, 1)\nb", "print(a + b)"
    )
    cli = Cli(kit.kubeconfig, tmp_path)
    done = cli(
        "verify",
        str(source),
        *on(namespace, "--report", str(tmp_path / "proof"), "--offload", "all"),
        "--json",
        seconds=900,
    )
    certificate = json.loads((tmp_path / "proof" / "certificate.json").read_text())
    assert json.loads(done.stdout)["equal"] is True
    assert certificate["equal"] is True
    nothing_left(kit, namespace)


def test_a_sweep_runs_what_is_shared_once(kit: Kit, namespace: str, project: Path, tmp_path: Path) -> None:
    shared = "base = sum(i * i for i in range(5_000_000))"
    source = notebook(project / "sweep.ipynb", "alpha = 1", shared, "score = base * alpha\nscore")
    raw = json.loads(source.read_text())
    raw["cells"][0]["metadata"]["tags"] = ["parameters"]
    source.write_text(json.dumps(raw))
    cli = Cli(kit.kubeconfig, tmp_path)
    out = project / "out"
    cli(
        "run",
        str(source),
        *on(namespace),
        "-p",
        "alpha=1,2,3",
        "--collect",
        "score",
        "-o",
        str(out),
        seconds=600,
    )
    total = sum(i * i for i in range(5_000_000))
    scores = [row.split(",")[-1] for row in (out / "sweep.csv").read_text().splitlines()[1:]]
    assert scores == [str(total * n) for n in (1, 2, 3)]
    assert len(list(out.glob("*.ipynb"))) == 3
    nothing_left(kit, namespace)


def test_without_an_image_one_is_built_pushed_and_pulled_by_digest(
    kit: Kit, namespace: str, project: Path, tmp_path: Path
) -> None:
    if not kit.registry:
        pytest.skip("NO REGISTRY IS KNOWN: set J2K_REGISTRY")
    source = notebook(project / "plain.ipynb", "import math", "round(math.pi, 4)")
    where = f"http://{kit.registry}/j2k-e2e/plain"
    done = Cli(kit.kubeconfig, tmp_path)(
        "run", str(source), "--on", "kubernetes", "-n", namespace, "--registry", where, seconds=900
    )
    assert "push:" in done.stderr
    assert outputs(project / "plain.executed.ipynb") == [[], ["3.1416"]]
    nothing_left(kit, namespace)
