"""Pod templates: Pod Security "restricted", a read-only root, and nothing that an image or a namespace could decide for us.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

from jup2kub.manifests.objects import CLASS, base_name, labels
from jup2kub.manifests.spec import AGENT, PORT, SERVER, PodClass, RunSpec, project_mount

Obj = Dict[str, Any]
HOME = "/jup2kub/home"
CACHE = "/jup2kub/cache"
BUNDLE = "/jup2kub/bundle"
STORE = "/jup2kub/store"
SECRET = "/jup2kub/secret"
SPEC = "/jup2kub/spec"
PROGRAM = f"{BUNDLE}/jup2kub.pyz"
TOLERANCE = 20
"""Seconds that a pod stays bound to a node that does not answer: then it is replaced."""


@dataclass(frozen=True)
class Container:
    """What is particular to the one container of a pod."""

    component: str
    """`server`, `agent`, `probe`, or a role of the stream engine."""
    command: Tuple[str, ...]
    """Program and arguments."""
    pod_class: PodClass
    environment: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, Any] = field(default_factory=dict)
    """`startupProbe`, `livenessProbe`, `readinessProbe`, as in the API."""
    grace: int = 30
    """Seconds between SIGTERM and SIGKILL."""
    port: int = 0
    """Of HTTP; 0 = it listens nowhere."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    step: str = ""
    rev: str = ""
    keys: str = ""
    """Secret with keys for S3, seen as environment variables; empty = none."""


def template(
    spec: RunSpec, box: Container, *, restart: str, volumes: Tuple[Mapping[str, Any], ...] = ()
) -> Obj:
    """Return a pod template. `volumes`: pairs of a volume and its mount, `{"volume": …, "mount": …}`, besides the usual."""
    every = [*standard_volumes(spec, box), *volumes]
    return {
        "metadata": {
            "labels": {
                **labels(spec.run, box.component, step=box.step, rev=box.rev),
                CLASS: box.pod_class.name,
                "sidecar.istio.io/inject": "false",
            },
            "annotations": {
                "sidecar.istio.io/inject": "false",
                "linkerd.io/inject": "disabled",
                **box.annotations,
            },
        },
        "spec": {
            "restartPolicy": restart,
            "enableServiceLinks": False,
            "automountServiceAccountToken": box.component == SERVER and spec.jobs_by == "server",
            "terminationGracePeriodSeconds": box.grace,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": spec.user,
                "runAsGroup": spec.user,
                "fsGroup": spec.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [*tolerations(), *(dict(t) for t in box.pod_class.tolerations)],
            **_optional("nodeSelector", dict(box.pod_class.node_selector)),
            **_optional("imagePullSecrets", [{"name": name} for name in spec.pull_secrets]),
            "volumes": [v["volume"] for v in _unique(every)],
            "containers": [_container(spec, box, [v["mount"] for v in every])],
        },
    }


def tolerations() -> list[Obj]:
    """Return those of every pod: a node that is gone is waited for 20 s, not five minutes (taint-based eviction)."""
    return [
        {
            "key": f"node.kubernetes.io/{condition}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": TOLERANCE,
        }
        for condition in ("not-ready", "unreachable")
    ]


def standard_volumes(spec: RunSpec, box: Container) -> list[Mapping[str, Any]]:
    """Return what makes a read-only root bearable, and the project's folder at its own path."""
    wish = box.pod_class
    found = [
        scratch("tmp", "/tmp", wish.storage),
        scratch("home", HOME, wish.storage),
        scratch("shm", "/dev/shm", wish.memory // 2, medium="Memory"),
    ]
    if box.component == AGENT:
        found.append(scratch("cache", CACHE, wish.storage))
        if spec.project != "/tmp":
            found.append(scratch("project", project_mount(spec.project), wish.storage))
        for number, volume in enumerate(spec.volumes):
            found.append(
                mounted_claim(f"data-{number}", volume.claim, volume.path, read_only=volume.read_only)
            )
    if spec.bundle:
        found.append(
            {
                "volume": {"name": "bundle", "configMap": {"name": spec.bundle, "defaultMode": 0o444}},
                "mount": {"name": "bundle", "mountPath": BUNDLE, "readOnly": True},
            }
        )
    return found


def scratch(name: str, path: str, size: int, medium: str = "") -> Mapping[str, Any]:
    """Return an empty folder that lives as long as the pod."""
    kind = {"sizeLimit": str(size), **_optional("medium", medium)}
    return {"volume": {"name": name, "emptyDir": kind}, "mount": {"name": name, "mountPath": path}}


def s3_keys(secret: str) -> list[Obj]:
    """Return environment variables from the secret's keys of the same names; a session token may be lacking."""
    found = []
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        optional = {"optional": True} if name == "AWS_SESSION_TOKEN" else {}
        found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name, **optional}}})
    return found


def mounted_claim(name: str, claim: str, path: str, *, read_only: bool = False) -> Mapping[str, Any]:
    """Return a claim's volume."""
    reference = {"claimName": claim, **_optional("readOnly", read_only)}
    return {
        "volume": {"name": name, "persistentVolumeClaim": reference},
        "mount": {"name": name, "mountPath": path, **_optional("readOnly", read_only)},
    }


def mounted_secret(name: str, secret: str, path: str) -> Mapping[str, Any]:
    """Return a secret's keys as files that our user alone can read."""
    return {
        "volume": {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}},
        "mount": {"name": name, "mountPath": path, "readOnly": True},
    }


def mounted_config(name: str, config_map: str, path: str) -> Mapping[str, Any]:
    """Return a config map's keys as files."""
    return {
        "volume": {"name": name, "configMap": {"name": config_map, "defaultMode": 0o444}},
        "mount": {"name": name, "mountPath": path, "readOnly": True},
    }


def program(spec: RunSpec) -> Tuple[str, ...]:
    """Return how our program is started in a pod."""
    return (spec.python, PROGRAM) if spec.bundle else (spec.python, "-m", "jup2kub.pod")


def server_url(spec: RunSpec) -> str:
    """Return the run server's address as pods see it."""
    return f"http://{base_name(spec.run)}.{spec.namespace}.svc:{PORT}"


def http_probe(path: str, period: int, failures: int, timeout: int = 5) -> Obj:
    """Return a probe of our own HTTP port; periods and time-outs in seconds."""
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _container(spec: RunSpec, box: Container, mounts: list[Any]) -> Obj:
    variables = {
        "HOME": HOME,
        "TMPDIR": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUP2KUB_RUN": spec.run,
        **box.environment,
    }
    env: list[Obj] = [{"name": name, "value": value} for name, value in sorted(variables.items())]
    env += [{"name": "JUP2KUB_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    env += [{"name": "JUP2KUB_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]
    env += s3_keys(box.keys) if box.keys else []
    keys = [{"secretRef": {"name": name}} for name in spec.secrets] if box.component == AGENT else []
    return {
        "name": box.component,
        "image": box.pod_class.image or spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(box.command),
        "env": env,
        **_optional("envFrom", keys),
        "resources": {k: dict(v) for k, v in box.pod_class.resources().items()},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_optional("ports", [{"name": "http", "containerPort": box.port}] if box.port else []),
        **box.probes,
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _unique(volumes: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({v["volume"]["name"]: v for v in volumes}.values())


def _optional(name: str, value: Optional[Any]) -> Obj:
    return {name: value} if value else {}
