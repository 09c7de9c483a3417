"""Kubeflow Pipelines v2: the pipeline's intermediate representation, and its platform part for Kubernetes.

Two documents in one file, as the KFP compiler writes them: `ml_pipelines.PipelineSpec` (schema 2.1.0) and
`ml_pipelines.PlatformSpec` with `kfp_kubernetes.KubernetesExecutorConfig`, both in proto3's JSON mapping.
"""

from __future__ import annotations

from typing import Any

from jup2kub.export.site import Site, arguments, cores, memory, to_yaml, words
from jup2kub.model.parts import Part, Parts

SCHEMA = "2.1.0"


def documents(parts: Parts, site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pipeline, and what it needs of Kubernetes."""
    pipeline = {
        "components": {f"comp-{p.name}": {"executorLabel": f"exec-{p.name}"} for p in parts.parts},
        "deploymentSpec": {
            "executors": {f"exec-{p.name}": {"container": _container(p, site)} for p in parts.parts}
        },
        "pipelineInfo": {"name": site.name},
        "root": {"dag": {"tasks": {p.name: _task(p) for p in parts.parts}}},
        "schemaVersion": SCHEMA,
        "sdkVersion": "kfp-2.11.0",
    }
    # Twice, as the SDK itself does: KFP before 2.5 knows the second only.
    claim = {"pvcNameParameter": {"runtimeValue": {"constant": site.claim}}, "constant": site.claim}
    mount = {"pvcMount": [{**claim, "mountPath": site.folder}]}
    executors = {f"exec-{p.name}": mount for p in parts.parts}
    return pipeline, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def text(parts: Parts, site: Site) -> str:
    """Return the file that is uploaded as a pipeline."""
    pipeline, platform = documents(parts, site)
    return words(site, parts, "Kubeflow pipeline") + to_yaml(pipeline) + "---\n" + to_yaml(platform)


def _task(part: Part) -> dict[str, Any]:
    return {
        # Whether a result may be used again is the store's to say, not that of a cache which knows nothing of files.
        "cachingOptions": {"enableCache": False},
        "componentRef": {"name": f"comp-{part.name}"},
        **({"dependentTasks": list(part.after)} if part.after else {}),
        "taskInfo": {"name": part.name},
    }


def _container(part: Part, site: Site) -> dict[str, Any]:
    size = memory(site, part)
    resources: dict[str, Any] = {
        "cpuRequest": cores(site, part),
        "memoryRequest": size / 1e9,  # in gigabytes of 10^9
        "memoryLimit": size / 1e9,
        "resourceCpuRequest": f"{round(cores(site, part) * 1000)}m",
        "resourceMemoryRequest": str(size),
        "resourceMemoryLimit": str(size),
    }
    if part.gpu:
        resources["accelerator"] = {
            "type": "nvidia.com/gpu",
            "count": str(part.gpu),
            "resourceType": "nvidia.com/gpu",
            "resourceCount": str(part.gpu),
        }
    return {
        "args": arguments(site, part),
        "command": [site.python],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "image": site.image,
        "resources": resources,
    }
