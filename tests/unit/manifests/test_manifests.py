"""Objects as data: golden files, the API's own schemas from 1.31 on, Pod Security “restricted”, and strict input."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate.utils as schemas
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jup2kub.errors import UsageError
from jup2kub.kit.canon import from_json, to_json
from jup2kub.manifests import platform, render, storage, workloads
from jup2kub.manifests.manager import PodManager
from jup2kub.manifests.objects import base_name, labels
from jup2kub.manifests.spec import (
    AGENT,
    BOTH,
    CONSUMER,
    PRODUCER,
    SERVER,
    PodClass,
    RunSpec,
    Volume,
    check_project,
    parse_quantity,
    project_mount,
    quantity,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "manifests"
VERSIONS = ("1.31", "1.33", "1.35", "1.37")
Obj = dict[str, Any]
SPEC = RunSpec(
    run="01abc",
    image="registry.example/science@sha256:" + "a" * 64,
    project="/home/ada/study",
    namespace="lab",
    bundle="j2k-01abc-bundle",
    bundle_digest="b" * 64,
    notebook="0123abcd",
    base=PodClass("registry.example/science@sha256:" + "a" * 64),
)
FORMS = (
    "",
    "local:/data@node-1",
    "claim:mine",
    "class:fast",
    "ebs:gp3",
    "ebs:vol-0a@eu-west-1a",
    "efs:fs-0a",
    "efs:fs-0a::fsap-0b",
)


S3 = "s3://bucket/prefix/,secret=keys,endpoint=https://minio.lab:9000,region=eu-west-1,size=6Gi"


def rich() -> RunSpec:
    """A run that uses everything."""
    return replace(
        SPEC,
        pull_secrets=("registry",),
        volumes=(Volume("images", "/data", read_only=True),),
        secrets=("database",),
        environment={"OMP_NUM_THREADS": "2"},
        queue="team",
    )


def stream(spec: RunSpec, role: str) -> Obj:
    """A Deployment as in the paper's listing 1."""
    topics = {"consumes": ("a",)} if role != PRODUCER else {}
    topics |= {"produces": ("b",)} if role != CONSUMER else {}
    made = PodManager(role, spec, spec.pod_class(), broker="kafka:9092", step="clean", rev="1", **topics)
    return made.deployment("clean")


def every_object() -> Iterator[Obj]:
    for spec in (SPEC, rich(), replace(SPEC, account="mine"), replace(SPEC, jobs_by="cli", bundle="")):
        yield from render.run_objects(spec, "token", b"program" if spec.bundle else b"")
        for wishes in ({}, {"gpu": 1, "memory": 8 << 30, "cpu": 2.5}):
            yield PodManager(AGENT, spec, spec.pod_class(**wishes)).job(
                "j2k-01abc-x-1", {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u"}
            )
        yield workloads.probe_pod(spec, "j2k-01abc-probe", ("python3", "-c", "pass"))
        yield workloads.as_pod(spec, workloads.agent_template(spec, spec.pod_class()), "dry", AGENT)
    for role in (PRODUCER, CONSUMER, BOTH):
        yield stream(SPEC, role)
    for form in FORMS:
        wanted = storage.parse(form)
        spec = storage.with_storage(SPEC, wanted)
        yield from [*storage.claim(spec), *storage.administrator_objects(spec, wanted)]
    yield from render.run_objects(storage.with_storage(SPEC, storage.parse(S3)), "token")


EVERY = list(every_object())


def name_of(obj: Obj) -> str:
    return f"{obj['kind']}-{obj['metadata']['name']}"


@pytest.fixture(scope="module", autouse=True)
def read_schemas_once() -> Iterator[None]:
    whole = schemas.schema_contents
    schemas.schema_contents = functools.cache(whole)
    yield
    schemas.schema_contents = whole


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_follows_the_schemas_of_this_version_without_unknown_fields(version: str) -> None:
    kinds = set()
    for obj in EVERY:
        schemas.validate(obj, version, strict=True)
        kinds.add(obj["kind"])
    assert kinds >= {
        "Deployment",
        "Job",
        "Pod",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PersistentVolume",
        "StorageClass",
    }


def test_the_schemas_would_find_a_field_that_does_not_exist() -> None:
    job = json.loads(json.dumps(next(o for o in EVERY if o["kind"] == "Job")))
    job["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(schemas.ValidationError):
        schemas.validate(job, "1.31", strict=True)


def pod_specs() -> Iterator[tuple[str, Obj]]:
    for obj in EVERY:
        if obj["kind"] in ("Job", "Deployment"):
            yield name_of(obj), obj["spec"]["template"]["spec"]
        elif obj["kind"] == "Pod":
            yield name_of(obj), obj["spec"]


ALLOWED_VOLUMES = {
    "configMap",
    "downwardAPI",
    "emptyDir",
    "projected",
    "secret",
    "csi",
    "persistentVolumeClaim",
    "ephemeral",
    "image",
}


def violations(spec: Obj) -> list[str]:
    """What Pod Security “restricted” (v1.35) would say of a pod."""
    found = [f"host: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {v['name']}" for v in spec["volumes"] if not set(v) - {"name"} <= ALLOWED_VOLUMES]
    if spec["securityContext"].get("runAsUser") == 0 or not spec["securityContext"].get("runAsNonRoot"):
        found.append("root")
    for box in [*spec["containers"], *spec.get("initContainers", [])]:
        inner = box["securityContext"]
        if inner.get("allowPrivilegeEscalation") is not False or inner.get("privileged"):
            found.append("privileges")
        if inner["capabilities"].get("drop") != ["ALL"] or inner["capabilities"].get("add"):
            found.append("capabilities")
        if inner.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.append("seccomp")
        if any("hostPort" in port for port in box.get("ports", [])):
            found.append("hostPort")
        probes = [box.get(k, {}) for k in ("livenessProbe", "readinessProbe", "startupProbe")]
        if any("host" in probe.get("httpGet", {}) for probe in probes):
            found.append("probe host")
    return found


def test_every_pod_follows_pod_security_restricted() -> None:
    assert {name: violations(spec) for name, spec in pod_specs() if violations(spec)} == {}


def test_every_pod_has_a_read_only_root_requests_limits_and_no_service_links() -> None:
    for name, spec in pod_specs():
        assert spec["enableServiceLinks"] is False, name
        for box in spec["containers"]:
            assert box["securityContext"]["readOnlyRootFilesystem"] is True, name
            for kind in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= set(box["resources"][kind]), name


def test_only_a_server_that_makes_jobs_gets_a_token_of_the_cluster() -> None:
    with_token = {name for name, spec in pod_specs() if spec["automountServiceAccountToken"]}
    assert with_token == {"Deployment-j2k-01abc-server"}
    cli = workloads.server(replace(SPEC, jobs_by="cli"))["spec"]["template"]["spec"]
    assert cli["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in cli


def test_every_mount_has_its_volume_and_no_path_twice() -> None:
    for name, spec in pod_specs():
        volumes = {v["name"] for v in spec["volumes"]}
        paths = [m["mountPath"] for m in spec["containers"][0]["volumeMounts"]]
        assert {m["name"] for m in spec["containers"][0]["volumeMounts"]} == volumes, name
        assert len(paths) == len(set(paths)), name


def test_names_and_labels_fit() -> None:
    long = replace(SPEC, run="a" * 32)
    for obj in render.run_objects(long, "t"):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", obj["metadata"]["name"])
        for value in obj["metadata"]["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)
    assert (
        len(f"{base_name(long.run)}-{PodClass('x').name}-abcdef") <= 57
    )  # a pod's name is five letters more


def test_every_object_of_a_run_can_be_found_by_its_label() -> None:
    for obj in render.run_objects(SPEC, "t", b"p"):
        if obj["kind"] != "PersistentVolumeClaim":
            assert obj["metadata"]["labels"].items() >= labels("01abc", "server").items() - {
                ("app.kubernetes.io/component", "server")
            }


def test_the_claim_outlives_the_run_and_is_the_notebooks() -> None:
    [claim] = storage.claim(SPEC)
    assert claim["metadata"]["name"] == "j2k-store-0123abcd"
    assert "jup2kub.dev/run" not in claim["metadata"]["labels"]
    assert "storageClassName" not in claim["spec"]  # the cluster's default


def test_a_job_is_one_pod_and_never_tried_again() -> None:
    job = PodManager(AGENT, SPEC, SPEC.pod_class()).job("x")["spec"]
    assert (job["backoffLimit"], job["completions"], job["parallelism"]) == (0, 1, 1)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "podFailurePolicy" not in job


def test_the_server_is_never_two_at_once() -> None:
    server = PodManager(SERVER, SPEC, SPEC.pod_class()).deployment()["spec"]
    assert (server["replicas"], server["strategy"]) == (1, {"type": "Recreate"})


def test_a_lost_node_is_waited_for_20_seconds_by_every_pod() -> None:
    for name, spec in pod_specs():
        found = {(t["key"].partition("/")[2], t.get("tolerationSeconds")) for t in spec["tolerations"]}
        assert found >= {("not-ready", 20), ("unreachable", 20)}, name


def test_gpus_are_requests_and_limits() -> None:
    assert SPEC.pod_class(gpu=2).resources()["limits"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in SPEC.pod_class().resources()["limits"]


def test_classes_are_the_same_for_the_same_wishes() -> None:
    assert SPEC.pod_class(memory=1 << 30).name == SPEC.pod_class(memory=1 << 30, cpu=None).name
    assert SPEC.pod_class(memory=1 << 30).name != SPEC.pod_class().name


def test_a_spec_travels_as_json() -> None:
    assert from_json(RunSpec, json.loads(json.dumps(to_json(rich())))) == rich()


def test_an_unknown_field_of_a_spec_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'parallelism'"):
        from_json(RunSpec, {**to_json(SPEC), "paralelism": 3})


@pytest.mark.parametrize(
    "path", ["/", "relative", "/usr/local", "/etc", "/home/../etc", "/jup2kub/x", "/home/a/"]
)
def test_a_project_that_would_hide_the_image_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="hide the image"):
        check_project(path)


def test_a_project_below_roots_home_is_mounted_where_others_may_pass() -> None:
    assert project_mount("/root/a/b") == "/root"
    assert project_mount("/home/ada/b") == "/home/ada/b"


@pytest.mark.parametrize("run", ["", "UPPER", "with-dash", "x" * 33])
def test_a_name_that_no_object_can_have_is_refused(run: str) -> None:
    with pytest.raises(UsageError, match="name of a run"):
        replace(SPEC, run=run)


def test_pods_never_run_as_root() -> None:
    with pytest.raises(UsageError, match="root"):
        replace(SPEC, user=0)


@given(st.integers(min_value=1, max_value=1 << 50))
def test_quantities_are_read_back(size: int) -> None:
    assert parse_quantity(quantity(size)) == size


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2Gi", 2 << 30), ("1e3", 1000), ("1k", 1000), ("3", 3)]
)
def test_quantities_of_the_api_are_read(text: str, value: float) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "2GiB", "x", "1 Gi", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)


# -- roles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "more", "reason"),
    [
        ("produce", {}, "no pod has the role"),
        (PRODUCER, {"broker": "k:9092"}, "writes to at least one topic"),
        (CONSUMER, {"broker": "k:9092"}, "reads at least one topic"),
        (CONSUMER, {"consumes": ("a",)}, "needs a broker"),
        (AGENT, {"consumes": ("a",)}, "has no topics"),
    ],
)
def test_a_role_that_does_not_fit_its_topics_is_refused(role: str, more: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PodManager(role, SPEC, SPEC.pod_class(), **more)


def test_the_papers_listing() -> None:
    made = stream(SPEC, BOTH)
    box = made["spec"]["template"]["spec"]["containers"][0]
    assert made["spec"]["replicas"] == 3
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 1}
    assert {"name": "KAFKA_BROKER", "value": "kafka:9092"} in box["env"]
    assert box["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}
    assert box["readinessProbe"]["httpGet"] == {"path": "/readiness", "port": 8080}


def test_several_replicas_of_a_claim_for_one_node_are_refused() -> None:
    made = PodManager(
        CONSUMER, SPEC, SPEC.pod_class(), consumes=("a",), broker="k:9092", volumes={"c": "/data"}
    )
    with pytest.raises(UsageError, match="one node at a time"):
        made.deployment("x")
    assert made.deployment("x", replicas=1)


# -- storage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "local:/data",
        "local:data@n",
        "claim:",
        "claim:UP",
        "ebs:gp9",
        "ebs:vol-0a",
        "efs:x",
        "nfs:/x",
        "s3:/b",
        "s3://b",
        "s3://bucket/a b",
        "s3://bucket,key=x",
        "s3://bucket,endpoint=minio:9000",
        "class:a,size=x",
        "class:a,siz=1Gi",
    ],
)
def test_a_storage_that_cannot_be_read_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        storage.parse(text)
    assert "claim:NAME" in str(caught.value.hint)


def test_a_bucket_takes_the_place_of_the_claim() -> None:
    spec = storage.with_storage(SPEC, storage.parse(S3))
    objects = render.run_objects(spec, "t")
    assert "PersistentVolumeClaim" not in {obj["kind"] for obj in objects}
    assert storage.administrator_objects(spec, storage.parse(S3)) == []
    pod = objects[-1]["spec"]["template"]["spec"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "store"]
    assert volume == {"name": "store", "emptyDir": {"sizeLimit": str(6 << 30)}}
    words = " ".join(pod["containers"][0]["command"])
    place = f"s3://bucket/prefix/{spec.namespace}/{spec.notebook or 'j2k-' + spec.run}"
    assert f"--store {place} --cache /jup2kub/store/s3 --cache-bytes {3 << 30} --region eu-west-1" in words
    assert "--endpoint https://minio.lab:9000" in words


def test_keys_of_a_bucket_come_from_a_secret_and_to_the_server_alone() -> None:
    spec = storage.with_storage(SPEC, storage.parse(S3))
    server = workloads.server(spec)["spec"]["template"]["spec"]["containers"][0]
    keys = {
        e["name"]: e.get("valueFrom", {}).get("secretKeyRef") for e in server["env"] if "AWS" in e["name"]
    }
    assert keys == {
        "AWS_ACCESS_KEY_ID": {"name": "keys", "key": "AWS_ACCESS_KEY_ID"},
        "AWS_SECRET_ACCESS_KEY": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"},
        "AWS_SESSION_TOKEN": {"name": "keys", "key": "AWS_SESSION_TOKEN", "optional": True},
    }
    agent = workloads.agent_template(spec, spec.pod_class())["spec"]["containers"][0]
    assert [e for e in agent["env"] if "AWS" in e["name"]] == []


def test_a_bucket_without_keys_is_refused_and_a_service_account_may_have_them() -> None:
    with pytest.raises(UsageError) as caught:
        storage.with_storage(SPEC, storage.parse("s3://bucket/prefix"))
    assert caught.value.code == "J2K715"
    spec = storage.with_storage(replace(SPEC, account="roled"), storage.parse("s3://bucket"))
    server = workloads.server(spec)["spec"]["template"]["spec"]
    assert server["serviceAccountName"] == "roled"
    assert [e for e in server["containers"][0]["env"] if "AWS" in e["name"]] == []


def test_a_size_may_be_given() -> None:
    assert storage.with_storage(SPEC, storage.parse("class:fast,size=20Gi")).storage_bytes == 20 << 30


def test_a_local_volume_stays_on_its_node() -> None:
    wanted = storage.parse("local:/data@node-1")
    spec = storage.with_storage(SPEC, wanted)
    _, volume = storage.administrator_objects(spec, wanted)
    [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0] == {
        "key": "kubernetes.io/hostname",
        "operator": "In",
        "values": ["node-1"],
    }
    [claim] = storage.claim(spec)
    assert claim["spec"]["storageClassName"] == volume["spec"]["storageClassName"]
    assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"]


def test_a_volume_that_an_administrator_made_is_that_of_the_notebooks_next_run_too() -> None:
    wanted = storage.parse("local:/data@node-1")
    first, later, other, elsewhere = (
        storage.class_name(replace(SPEC, notebook=notebook, run=run, namespace=namespace), wanted)
        for notebook, run, namespace in (
            ("0123abcd", "1", "lab"),
            ("0123abcd", "2", "lab"),
            ("ffffffff", "1", "lab"),
            ("0123abcd", "1", "hut"),
        )
    )
    assert first == later
    assert len({first, other, elsewhere}) == 3


def test_an_efs_access_point_belongs_to_the_pods_user() -> None:
    wanted = storage.parse("efs:fs-0a")
    [made] = storage.administrator_objects(storage.with_storage(SPEC, wanted), wanted)
    assert (made["parameters"]["uid"], made["parameters"]["gid"]) == ("1000", "1000")


def test_what_is_for_the_administrator_is_never_namespaced() -> None:
    for form in FORMS:
        wanted = storage.parse(form)
        for obj in storage.administrator_objects(storage.with_storage(SPEC, wanted), wanted):
            assert obj["kind"] in ("PersistentVolume", "StorageClass")
            assert "namespace" not in obj["metadata"]


# -- rights and networks -------------------------------------------------------------------------------------------


def test_the_server_has_no_right_to_secrets_exec_or_the_cluster() -> None:
    rules = platform.RULES
    assert not {"secrets", "pods/exec", "*"} & {r for rule in rules for r in rule["resources"]}
    assert not {"*", "bind", "escalate", "impersonate"} & {v for rule in rules for v in rule["verbs"]}


def test_agents_may_reach_the_server_dns_and_what_the_user_allows() -> None:
    policy = platform.network_policies(replace(SPEC, egress=("10.0.0.0/8",)))[0]["spec"]
    assert policy["ingress"] == []
    cidrs = [
        to["ipBlock"]["cidr"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to
    ]
    assert cidrs == ["10.0.0.0/8"]
    assert platform.network_policies(replace(SPEC, network_policy=False)) == []


# -- as files ------------------------------------------------------------------------------------------------------


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=40), inner),
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_yaml_is_read_back_as_it_was(value: Any) -> None:
    assert yaml.safe_load(render.to_yaml(value)) == value


@pytest.mark.parametrize("obj", EVERY, ids=[f"{n}-{name_of(o)}" for n, o in enumerate(EVERY)])
def test_every_object_is_read_back_from_its_file(obj: Obj) -> None:
    assert yaml.safe_load(render.to_yaml(obj)) == obj


def test_a_folder_lists_all_that_it_holds() -> None:
    objects = render.run_objects(SPEC, "t", b"p")
    files = render.folder(objects, [{"kind": "StorageClass"}])
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert sorted(listed) == sorted(set(files) - {"kustomization.yaml", "administrator.yaml"})
    assert len(listed) == len(objects)


@pytest.mark.parametrize("name", ["server", "agent", "run"])
def test_golden(name: str) -> None:
    """Set J2K_GOLDEN=write to make them anew, and read the difference."""
    text = {
        "server": lambda: render.to_yaml(workloads.server(SPEC)),
        "agent": lambda: render.to_yaml(
            PodManager(AGENT, rich(), rich().pod_class(gpu=1)).job("j2k-01abc-x-1")
        ),
        "run": lambda: "---\n".join(map(render.to_yaml, render.run_objects(SPEC, "token", b"program"))),
    }[name]()
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("J2K_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text
