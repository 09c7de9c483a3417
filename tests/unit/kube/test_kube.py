"""A run on a cluster, seen from the user's machine: names, rights, admission, the image, and what is remembered."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.contract.apiserver import echo

from jup2kub import away, ipynb
from jup2kub.cluster import Missing
from jup2kub.cluster.memory import MemoryCluster
from jup2kub.cluster.rest import Request, problem
from jup2kub.engine.server.hall import Hall
from jup2kub.engine.server.web import Server
from jup2kub.errors import EnvironmentProblem, UsageError
from jup2kub.kube import preflight, runs, state
from jup2kub.kube.advice import right_size, with_margin
from jup2kub.kube.drive import clear, clear_results, has_claim
from jup2kub.kube.image import renamed
from jup2kub.kube.line import Line, ProxyTransport
from jup2kub.kube.preflight import NEEDED, TO_FORWARD, TO_GIVE, TO_SPEAK
from jup2kub.kube.runs import Remembered
from jup2kub.kube.sending import Meter
from jup2kub.kube.wishes import Wishes, run_name, size, spec_of, with_data
from jup2kub.manifests import render
from jup2kub.manifests.objects import labels
from jup2kub.manifests.spec import PORT, PROBE, SERVER, RunSpec
from jup2kub.model.facts import Facts
from jup2kub.model.plan import PLAN_VERSION, CellPlan, Plan
from jup2kub.model.run import CellOutcome
from jup2kub.store.memory import MemoryStore

WISHES = Wishes("registry.example/science:1")


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster("lab")


def spec(**more: Any) -> RunSpec:
    return RunSpec(
        **{
            "run": "01abc",
            "image": "i:1",
            "project": "/home/ada",
            "namespace": "lab",
            "notebook": "0123abcd",
            **more,
        }
    )


def test_names_sort_by_time_and_fit_into_names_of_objects() -> None:
    early, late = run_name(1_700_000_000, 5), run_name(1_700_000_001, 3)
    assert early < late
    assert spec(run=early).run == early
    assert run_name(1.0) != run_name(1.0)


def test_an_image_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image"):
        spec_of(Wishes(""), "01abc", tmp_path / "nb.ipynb", "lab", b"")
    with pytest.raises(UsageError, match="J2K620"):
        spec_of(Wishes("My Image"), "01abc", tmp_path / "nb.ipynb", "lab", b"")


def test_two_runs_of_a_notebook_share_a_claim_and_those_of_another_do_not() -> None:
    one, two = (spec_of(WISHES, r, Path("/home/a/nb.ipynb"), "lab", b"") for r in ("1", "2"))
    other = spec_of(WISHES, "3", Path("/home/a/other.ipynb"), "lab", b"")
    assert one.notebook == two.notebook != other.notebook


@pytest.mark.parametrize("text", ["x", "4GB!", ""])
def test_a_size_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="quantity"):
        size(text)


# -- preflight -----------------------------------------------------------------------------------------------------


def test_missing_rights_are_named_all_together(cluster: MemoryCluster) -> None:
    cluster.denied = {"create deployments.apps", "create services/proxy", "create pods/portforward"}
    with pytest.raises(EnvironmentProblem) as caught:
        preflight.settle_rights(cluster, spec(), lambda text: None)
    assert "create deployments.apps, create services/proxy" in str(caught.value)
    assert "edit" in str(caught.value.hint)


def test_who_may_not_use_the_proxy_forwards_a_port(cluster: MemoryCluster) -> None:
    told: list[str] = []
    cluster.denied = {str(right) for right in TO_SPEAK}
    preflight.settle_rights(cluster, spec(), told.append)
    assert "port-forward" in told[0]
    cluster.denied |= {str(TO_FORWARD[0])}
    with pytest.raises(EnvironmentProblem, match="services/proxy"):
        preflight.settle_rights(cluster, spec(), told.append)


def test_a_user_who_may_make_no_roles_makes_the_pods(cluster: MemoryCluster) -> None:
    told: list[str] = []
    cluster.denied = {str(right) for right in TO_GIVE}
    settled, left = preflight.settle_rights(cluster, spec(), told.append)
    assert settled.jobs_by == "cli"
    assert "--service-account" in told[0]
    assert left == frozenset()


def test_a_named_account_makes_them_all_the_same(cluster: MemoryCluster) -> None:
    cluster.denied = {str(right) for right in TO_GIVE}
    settled, _ = preflight.settle_rights(cluster, spec(account="mine"), lambda text: None)
    assert (settled.jobs_by, settled.account) == ("server", "mine")


def test_what_is_nice_to_have_is_left_out_and_told(cluster: MemoryCluster) -> None:
    told: list[str] = []
    cluster.denied = {"create networkpolicies.networking.k8s.io"}
    _, left = preflight.settle_rights(cluster, spec(), told.append)
    assert left == {"NetworkPolicy"}
    assert "without NetworkPolicy" in told[0]


def test_every_right_is_one_that_the_cluster_edit_role_has() -> None:
    edit = {"Deployment", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim", "Pod", "Job", "Event"}
    assert {right.kind for right in NEEDED} <= edit


def test_an_old_cluster_is_refused(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "version", lambda: (1, 30))
    with pytest.raises(EnvironmentProblem, match=r"Kubernetes 1\.30"):
        preflight.check_version(cluster)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("exceeded quota: small", "larger quota"),
        ("maximum memory usage per Container is 1Gi", "LimitRange"),
        ('violates PodSecurity "restricted"', "restricted"),
    ],
)
def test_what_admission_refuses_of_a_pod_is_told_with_a_way_out(
    cluster: MemoryCluster, words: str, hint: str
) -> None:
    body = json.dumps({"kind": "Status", "message": f"pods is forbidden: {words}"}).encode()
    cluster.refuse = lambda obj: problem(403, body, Request("POST", "/x")) if obj["kind"] == "Pod" else None
    with pytest.raises(EnvironmentProblem) as caught:
        preflight.check_admission(cluster, spec(), render.run_objects(spec(), "t"))
    assert words in str(caught.value)
    assert hint in str(caught.value.hint)
    assert cluster.list("Deployment").items == (), "nothing was made"


def test_a_namespace_whose_account_is_not_made_yet_is_waited_for(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        f'error looking up service account {cluster.namespace}/default: serviceaccount "default" not found'
    )
    body = json.dumps({"kind": "Status", "message": f'pods "x" is forbidden: {words}'}).encode()
    refusal = problem(403, body, Request("POST", "/x"))
    missing = iter([True, True])
    cluster.refuse = lambda obj: refusal if obj["kind"] == "Pod" and next(missing, False) else None
    told: list[str] = []
    preflight.check_admission(cluster, spec(), render.run_objects(spec(), "t"), told.append)
    assert told == ["waiting for the cluster to make the namespace's service account"]

    monkeypatch.setattr(preflight, "ACCOUNT_SECONDS", 0.0)
    cluster.refuse = lambda obj: refusal if obj["kind"] == "Pod" else None
    with pytest.raises(EnvironmentProblem, match="service account") as caught:
        preflight.check_admission(cluster, spec(), render.run_objects(spec(), "t"))
    assert "controllers" in str(caught.value.hint)


def told_by_probe(**more: Any) -> str:
    return json.dumps({"python": [3, 11, 2], "missing": [], "ipykernel": True, **more})


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ("exec: python3: not found", 127, "exit code 127"),
        ("", 1, "it said nothing"),
        (told_by_probe(python=[3, 8, 1]), 0, "Python 3.8.1"),
        (told_by_probe(ipykernel=False), 0, "no ipykernel"),
    ],
)
def test_an_image_that_cannot_run_a_notebook_is_refused(words: str, code: int, reason: str) -> None:
    with pytest.raises(EnvironmentProblem, match=reason) as caught:
        preflight.seen(words, code, spec())
    assert caught.value.code == "J2K724"


def test_a_probe_looks_and_is_removed(cluster: MemoryCluster) -> None:
    def kubelet() -> None:
        for change in cluster.watch("Pod", version="0", seconds=10):
            if change.type == "ADDED":
                name = change.object["metadata"]["name"]
                cluster.printed[name] = told_by_probe(missing=["torch"]).encode()
                ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
                status = {"phase": "Succeeded", "containerStatuses": [{"state": ended}]}
                cluster.put({**change.object, "status": status})
                return

    thread = threading.Thread(target=kubelet)
    thread.start()
    with preflight.probe(cluster, spec(), {"torch", "numpy"}, lambda text: None) as look:
        seen = look()
    thread.join()
    assert seen == preflight.Seen((3, 11, 2), ("torch",))
    assert cluster.list("Pod", f"app.kubernetes.io/component={PROBE}").items == ()


def test_claims_and_secrets_of_cells_must_be_there(cluster: MemoryCluster) -> None:
    source = "#| volume: images:/data\n#| secret: database\nx = 1"
    cells = [
        {
            "cell_type": "code",
            "id": "a",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
    ]
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    asked = with_data(spec(), ipynb.read(json.dumps(document).encode(), "nb.ipynb"))
    assert [(v.claim, v.path) for v in asked.volumes] == [("images", "/data")]
    assert asked.secrets == ("database",)
    with pytest.raises(UsageError, match="no PersistentVolumeClaim images"):
        preflight.check_data(cluster, asked)
    for kind, name in (("PersistentVolumeClaim", "images"), ("Secret", "database")):
        cluster.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
    preflight.check_data(cluster, asked)


# -- what is remembered, and what the cluster knows ------------------------------------------------------------------


def known(run: str) -> Remembered:
    return Remembered(run, "", "lab", "/home/a/nb.ipynb", "/home/a/out.ipynb", 1.0, {"p": 1}, wishes=WISHES)


def test_a_run_is_remembered_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    for name in ("1abc", "1abd", "2xyz"):
        runs.remember(tmp_path, known(name))
    assert runs.chosen(tmp_path, "2") == known("2xyz")
    assert runs.chosen(tmp_path, "9") is None
    with pytest.raises(UsageError, match="2 runs"):
        runs.chosen(tmp_path, "1ab")
    runs.forget(tmp_path, "1abd")
    assert runs.chosen(tmp_path, "1AB") == known("1abc")


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    assert runs.remembered(tmp_path) == []


def test_a_run_that_the_cluster_does_not_have_is_told_as_such(cluster: MemoryCluster) -> None:
    with pytest.raises(Missing) as caught:
        runs.token(cluster, "nowhere")
    assert caught.value.code == "J2K725"


def test_token_and_spec_come_from_the_cluster(cluster: MemoryCluster) -> None:
    for obj in render.run_objects(spec(), "secret"):
        cluster.create(obj)
    assert runs.token(cluster, "01abc") == "secret"
    assert runs.spec(cluster, "01abc") == spec()
    assert runs.of_notebook(cluster, "0123abcd") == ["01abc"]


def test_clearing_leaves_the_claim_until_it_is_asked_for(cluster: MemoryCluster) -> None:
    for obj in render.run_objects(spec(bundle="j2k-01abc-bundle"), "secret", b"p"):
        cluster.create(obj)
    clear(cluster, "01abc")
    assert [o["metadata"]["name"] for o in cluster.list("PersistentVolumeClaim").items] == [
        "j2k-store-0123abcd"
    ]
    for obj in render.run_objects(spec(bundle="j2k-01abc-bundle"), "secret", b"p")[-1:]:
        cluster.create(obj)
    assert "persistentvolumeclaim/j2k-store-0123abcd" in clear(cluster, "01abc", claims=True)
    assert cluster.list("PersistentVolumeClaim").items == ()


def test_a_claim_that_another_run_uses_is_never_removed(cluster: MemoryCluster) -> None:
    for run in ("01abc", "02abc"):
        for obj in render.run_objects(spec(run=run), "secret"):
            if obj["kind"] in ("Deployment", "PersistentVolumeClaim"):
                cluster.apply(obj)
    clear(cluster, "01abc", claims=True)
    assert len(cluster.list("PersistentVolumeClaim").items) == 1


# -- the line ------------------------------------------------------------------------------------------------------


def test_what_a_notebook_has_kept_is_removed_when_no_run_of_it_is_left(cluster: MemoryCluster) -> None:
    for obj in render.run_objects(spec(), "t"):
        cluster.create(obj)
    with pytest.raises(UsageError, match="run 01abc of this notebook"):
        clear_results(cluster, "0123abcd")
    clear(cluster, "01abc")
    assert clear_results(cluster, "ffffffff") == ()
    assert clear_results(cluster, "0123abcd") == ("persistentvolumeclaim/j2k-store-0123abcd",)
    assert cluster.list("PersistentVolumeClaim").items == ()


def test_the_line_carries_token_and_body(cluster: MemoryCluster) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s", "labels": labels("1", "server")},
            "spec": {},
        }
    )
    cluster.services["s"] = echo
    answer = ProxyTransport(cluster, "s").request("POST", "/v1/x", b"{}", {"X-J2K-Token": "t"}, 1.0)
    assert json.loads(answer.body)["token"] == "t"
    assert answer.status == 200


def test_where_the_proxy_is_refused_a_port_is_forwarded(cluster: MemoryCluster) -> None:
    hall = Hall(MemoryStore(), "secret", "01abc")
    server = Server(hall.site, "127.0.0.1", 0).begin()
    asked: list[str] = []

    def refused(*words: Any, **more: Any) -> Any:
        asked.append(words[2])
        raise problem(
            403, b'{"kind": "Status", "message": "services/proxy is forbidden"}', Request("GET", "/")
        )

    cluster.proxy = refused  # type: ignore[method-assign]
    through = Line(cluster, "01abc")
    try:
        with pytest.raises(ConnectionError, match="no pod"):
            through.request("GET", "/healthz", b"", {}, 5.0)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "s", "labels": labels("01abc", SERVER)},
        }
        cluster.create(pod)
        with pytest.raises(ConnectionError, match="nothing listens"):
            through.request("GET", "/healthz", b"", {}, 5.0)
        cluster.listening["s", PORT] = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        assert through.request("GET", "/healthz", b"", {}, 5.0).body in (b"ok\n", b"no\n")
        assert through.request("GET", "/readiness", b"", {}, 5.0).status in (200, 503)
    finally:
        through.close()
        server.close()
    assert asked == ["/healthz"], "a proxy that was refused is not asked again"


def test_a_server_that_is_away_is_no_answer(cluster: MemoryCluster) -> None:
    with pytest.raises(OSError, match="not found"):
        ProxyTransport(cluster, "s").request("GET", "/", b"", {}, 1.0)


def test_a_state_is_told_in_words() -> None:
    found = {
        "run": "01abc",
        "namespace": "lab",
        "ended": None,
        "server": {"state": "running", "why": ""},
        "tasks": [
            {
                "task": "main",
                "state": "RUNNING",
                "reason": "",
                "attempts": [{"number": 1, "worker": "p1.ab", "seconds": 3.0, "silent": False}],
            },
            {"task": "cell-4", "state": "READY", "reason": "waits for a free worker", "attempts": []},
        ],
        "pods": [
            {"job": "j1", "pod": "p1", "node": "node1", "state": "running", "why": ""},
            {
                "job": "j2",
                "pod": "p2",
                "node": "",
                "state": "waiting",
                "why": "waiting for 1 nvidia.com/gpu (0 of 7 nodes have one free)",
            },
        ],
    }
    assert state.lines(found, lambda s: f"{s:.0f} s") == [
        "01abc  goes on  (namespace lab)",
        "  main line  runs",
        "      attempt 1 in p1 on node1, 3 s",
        "    cell 4  ready: waits for a free worker",
        "  pod p2: waiting: waiting for 1 nvidia.com/gpu (0 of 7 nodes have one free)",
    ]


def test_a_sweep_is_told_set_by_set() -> None:
    attempt = {"number": 1, "worker": "p1.ab", "seconds": 3.0, "silent": False}
    found = {
        "run": "01abc",
        "namespace": "lab",
        "ended": None,
        "server": {"state": "running", "why": ""},
        "tasks": [{"task": "main", "set": 7, "state": "RUNNING", "reason": "", "attempts": [attempt]}],
        "pods": [],
        "sets": {"6": True, "7": None, "8": None},
    }
    assert state.lines(found, lambda s: f"{s:.0f} s")[1:3] == [
        "  1 of 3 parameter sets have ended",
        "  set 7: main line  runs",
    ]


def test_an_image_may_have_another_name_for_nodes() -> None:
    digest = "@sha256:" + "a" * 64
    assert renamed(f"r:5000/x{digest}", "http://r:5000/x", "") == f"r:5000/x{digest}"
    assert renamed(f"r:5000/x{digest}", "http://r:5000/x", "inside:80/x") == f"inside:80/x{digest}"
    with pytest.raises(UsageError, match="does not begin"):
        renamed(f"r:5000/x{digest}", "other/x", "inside/x")


def outcome(peak: int | None, index: int = 3) -> CellOutcome:
    return CellOutcome(index=index, status="ok", peak_bytes=peak)


@pytest.mark.parametrize(
    ("peak", "words"),
    [
        (130 << 20, "in cell 3: `--memory 384Mi` would do"),
        (1900 << 20, "spares it from running out"),
        (1200 << 20, ""),
        (None, ""),
    ],
)
def test_the_size_of_pods_is_judged_by_what_was_used(peak: int | None, words: str) -> None:
    told = right_size([outcome(peak), outcome(1 << 20, 4)] if peak else [outcome(None)], 2 << 30)
    assert told.endswith(words)
    assert bool(told) == bool(words)


def test_files_on_their_way_are_told_in_bytes_now_and_then() -> None:
    said: list[str] = []
    now = [0.0]
    meter = Meter(100_000_000, said.append, lambda: now[0])
    meter(0, 20_000_000)
    meter(8_000_000, 0)
    assert said == []
    now[0] = 4.0
    meter(8_000_000, 0)
    assert said == ["sent 36 of 100 MB (20 MB were there already), about 16 s left"]
    now[0] = 4.5
    meter(64_000_000, 0)
    assert said[1:] == ["sent 100 of 100 MB (20 MB were there already)"]


def test_a_claim_is_known_to_be_there(cluster: MemoryCluster) -> None:
    assert not has_claim(cluster, spec())
    claims = [o for o in render.run_objects(spec(), "t") if o["kind"] == "PersistentVolumeClaim"]
    assert len(claims) == 1
    cluster.create(claims[0])
    assert has_claim(cluster, spec(run="other"))


def test_pods_are_asked_for_what_cells_were_seen_to_take_and_a_margin() -> None:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for n, source in enumerate(["x = 1", "#| resources: memory=8Gi\ny = 2", "z = 3"])
    ]
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    notebook = ipynb.read(json.dumps(document).encode(), "nb.ipynb")
    plans = [CellPlan(0, memory=1000), CellPlan(1, memory=8 << 30), CellPlan(2)]
    plan = Plan(PLAN_VERSION, "hybrid", 2, "source", tuple(plans), (), (), (), (), ())
    assert [c.memory for c in with_margin(plan, notebook).cells] == [1200, 8 << 30, None]


def test_pods_begin_within_what_they_may_grow_to(tmp_path: Path) -> None:
    asked = replace(WISHES, memory=4 << 30, max_memory=2 << 30)
    with pytest.raises(UsageError, match="--max-memory 2Gi is less than --memory 4Gi"):
        spec_of(asked, "01abc", tmp_path / "nb.ipynb", "lab", b"")
    assert (
        spec_of(replace(asked, memory=1 << 30), "01abc", tmp_path / "nb.ipynb", "lab", b"").max_memory
        == 2 << 30
    )


def test_what_a_run_has_learned_is_known_here_afterwards() -> None:
    there, here = MemoryStore(), MemoryStore()
    there.learn("key-one-0123", Facts(peak_bytes=5))
    link = SimpleNamespace(store=there)
    away.learn(link, ["key-one-0123", "key-two-0123", "key-one-0123"], here)  # type: ignore[arg-type]
    assert dict(here.profile()) == {"key-one-0123": Facts(peak_bytes=5)}
