"""Argo Workflows: one Workflow with a DAG template (argoproj.io/v1alpha1, `IoArgoprojWorkflowV1alpha1Workflow`)."""

from __future__ import annotations

from typing import Any

from jup2kub.export.site import USER, Site, arguments, cores, memory, to_yaml, words
from jup2kub.model.parts import Part, Parts


def document(parts: Parts, site: Site) -> dict[str, Any]:
    """Return the Workflow."""
    tasks = [
        {
            "name": part.name,
            "template": part.name,
            **({"dependencies": list(part.after)} if part.after else {}),
        }
        for part in parts.parts
    ]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": f"{site.name}-", "labels": {"app.kubernetes.io/part-of": "jup2kub"}},
        "spec": {
            "entrypoint": "plan",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "shared", "persistentVolumeClaim": {"claimName": site.claim}},
                {"name": "scratch", "emptyDir": {}},
            ],
            "templates": [
                {"name": "plan", "dag": {"tasks": tasks}},
                *(_template(part, site) for part in parts.parts),
            ],
        },
    }


def text(parts: Parts, site: Site) -> str:
    """Return the file for `argo submit`."""
    return words(site, parts, "Argo Workflow") + to_yaml(document(parts, site))


def _template(part: Part, site: Site) -> dict[str, Any]:
    wanted: dict[str, str] = {"cpu": f"{round(cores(site, part) * 1000)}m", "memory": str(memory(site, part))}
    gpus = {"nvidia.com/gpu": str(part.gpu)} if part.gpu else {}
    return {
        "name": part.name,
        # A pod that was lost is made again; what its cells committed is found in the store. What a cell of the last
        # task may have done to the world is never done twice: that task then says so and fails.
        "retryStrategy": {"limit": 2, "retryPolicy": "OnError"},
        "container": {
            "image": site.image,
            "command": [site.python],
            "args": arguments(site, part),
            "env": [{"name": "HOME", "value": "/tmp"}],
            "resources": {
                "requests": {**wanted, **gpus},
                "limits": {"memory": wanted["memory"], **gpus},
            },
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "shared", "mountPath": site.folder},
                {"name": "scratch", "mountPath": "/tmp"},
            ],
        },
    }
