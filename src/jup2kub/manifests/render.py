"""All objects of a run in the order they are made, and a folder of them for `kubectl apply --server-side -k`."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Sequence

from jup2kub.kit.canon import digest, to_json
from jup2kub.manifests import platform, storage
from jup2kub.manifests.manager import PodManager
from jup2kub.manifests.objects import base_name, config_map, secret, service
from jup2kub.manifests.spec import SERVER, RunSpec
from jup2kub.manifests.workloads import server_class

Obj = Dict[str, Any]
DIGEST = "jup2kub.dev/digest"
"""Annotation: digest of an object as we computed it, so that one of another content is seen."""


def run_objects(spec: RunSpec, token: str, bundle: bytes = b"") -> List[Obj]:
    """Return everything that starts a run, the Deployment last. `bundle`: the program; empty = the image brings it."""
    name = base_name(spec.run)
    found = [
        *platform.account(spec),
        secret(spec, f"{name}-token", SERVER, {"token": token.encode()}),
        config_map(spec, f"{name}-spec", SERVER, {"spec.json": json.dumps(to_json(spec), sort_keys=True)}),
        *([config_map(spec, spec.bundle, SERVER, {}, {"jup2kub.pyz": bundle})] if bundle else []),
        *storage.claim(spec),
        service(spec, name, SERVER),
        platform.disruption_budget(spec),
        *platform.network_policies(spec),
        PodManager(SERVER, spec, server_class(spec)).deployment(),
    ]
    return [marked(obj) for obj in found]


def marked(obj: Obj) -> Obj:
    """Return an object with its own digest as an annotation."""
    meta = obj["metadata"]
    notes = {**meta.get("annotations", {}), DIGEST: digest(obj)[:16]}
    return {**obj, "metadata": {**meta, "annotations": notes}}


def folder(objects: Sequence[Obj], administrator: Sequence[Obj] = ()) -> Mapping[str, str]:
    """Return files by name: one YAML file per object, `kustomization.yaml`, and what an administrator must apply first."""
    files = {}
    for number, obj in enumerate(objects):
        files[f"{number:02}-{obj['kind'].lower()}-{obj['metadata']['name']}.yaml"] = to_yaml(obj)
    resources: Obj = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
    }
    files["kustomization.yaml"] = to_yaml(resources)
    if administrator:
        files["administrator.yaml"] = "---\n".join(to_yaml(obj) for obj in administrator)
    return files


PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"}
"""What some reader of YAML 1.1 takes for something else than text."""


def to_yaml(value: Any) -> str:
    """Return plain JSON values as YAML, block style, keys in their order. A JSON text is a YAML scalar: so are ours."""
    return "\n".join(_block(value, "")) + "\n"


def _block(value: Any, indent: str) -> List[str]:
    if isinstance(value, dict) and value:
        lines: List[str] = []
        for key, inner in value.items():
            head = f"{indent}{_scalar(key)}:"
            if isinstance(inner, (dict, list)) and inner:
                lines += [head, *_block(inner, indent + "  ")]
            else:
                lines.append(f"{head} {_scalar(inner)}")
        return lines
    if isinstance(value, list) and value:
        lines = []
        for inner in value:
            if isinstance(inner, (dict, list)) and inner:
                first, *rest = _block(inner, indent + "  ")
                lines += [f"{indent}- {first.lstrip()}", *rest]
            else:
                lines.append(f"{indent}- {_scalar(inner)}")
        return lines
    return [f"{indent}{_scalar(value)}"]


def _scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    # Above U+FFFF, JSON escapes in two halves, which YAML takes for two characters.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(
        c if " " <= c <= "~" else f"\\u{ord(c):04x}" if c <= "\uffff" else f"\\U{ord(c):08x}" for c in text
    )
