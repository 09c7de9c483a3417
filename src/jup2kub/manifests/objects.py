"""Metadata that all our objects carry, and the objects that hold data or names."""

from __future__ import annotations

import base64
from typing import Any, Dict, Mapping, Optional

from jup2kub.manifests.spec import PORT, RunSpec

Obj = Dict[str, Any]
DOMAIN = "jup2kub.dev"
RUN, STEP, REV, CLASS, NOTEBOOK = (f"{DOMAIN}/{word}" for word in ("run", "step", "rev", "class", "notebook"))
"""Labels of ours."""


def base_name(run: str) -> str:
    """Return the name of a run's service, and the beginning of the names of all its objects."""
    return f"j2k-{run}"


def claim_name(spec: RunSpec) -> str:
    """Return the name of the claim behind the run server."""
    return spec.claim or (f"j2k-store-{spec.notebook}" if spec.notebook else f"{base_name(spec.run)}-store")


def labels(run: str, component: str, *, step: str = "", rev: str = "") -> Dict[str, str]:
    """Return our labels, and the recommended ones (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/)."""
    ours = {RUN: run, STEP: step, REV: rev}
    return {
        "app.kubernetes.io/name": "jup2kub",
        "app.kubernetes.io/part-of": base_name(run),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "jup2kub",
        **{k: v for k, v in ours.items() if v},
    }


def selector(run: str, component: str) -> Dict[str, str]:
    """Return the labels that choose the pods of one part of a run."""
    return {RUN: run, "app.kubernetes.io/component": component}


def select(run: str, component: str = "") -> str:
    """Return a label selector for everything of a run, or of one part of it."""
    part = f",app.kubernetes.io/component={component}" if component else ""
    return f"app.kubernetes.io/managed-by=jup2kub,{RUN}={run}{part}"


def metadata(spec: RunSpec, name: str, component: str, owner: Optional[Obj] = None, **more: Any) -> Obj:
    """Return `metadata`; `owner` as `owner_reference` gives it, None = nobody."""
    owned = {"ownerReferences": [owner]} if owner else {}
    return {"name": name, "namespace": spec.namespace, "labels": labels(spec.run, component), **owned, **more}


def owner_reference(owner: Obj) -> Obj:
    """Return a reference to an object that exists: what refers to it goes when it goes."""
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }


def config_map(
    spec: RunSpec,
    name: str,
    component: str,
    text: Mapping[str, str],
    binary: Optional[Mapping[str, bytes]] = None,
) -> Obj:
    """Return a config map; `binary` values are encoded."""
    encoded = {k: base64.b64encode(v).decode() for k, v in (binary or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(spec, name, component),
        **({"data": dict(text)} if text else {}),
        **({"binaryData": encoded} if encoded else {}),
    }


def secret(spec: RunSpec, name: str, component: str, values: Mapping[str, bytes]) -> Obj:
    """Return a secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata(spec, name, component),
        "data": {k: base64.b64encode(v).decode() for k, v in values.items()},
    }


def service(spec: RunSpec, name: str, component: str, port: int = PORT) -> Obj:
    """Return a service in front of a run's pods of this part."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, name, component),
        "spec": {
            "selector": selector(spec.run, component),
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
            "type": "ClusterIP",
        },
    }
