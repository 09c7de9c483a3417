"""`--storage`: where the run server keeps what it is given; claims of ours, and what an administrator must make.

By default a claim of the cluster's default class: most clusters have ReadWriteOnce only, and one pod is all that mounts
it. Cluster-scoped objects (PersistentVolume, StorageClass) are printed, never applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Tuple

from jup2kub.errors import UsageError
from jup2kub.kit.canon import digest
from jup2kub.manifests.objects import NOTEBOOK, RUN, base_name, claim_name, labels, metadata
from jup2kub.manifests.spec import SERVER, RunSpec, S3Place, parse_quantity, quantity

Obj = Dict[str, Any]
FORMS = (
    "local:/path@node, claim:NAME, class:NAME, ebs:gp3, ebs:vol-ID@ZONE, efs:fs-ID, efs:fs-ID::fsap-ID, "
    "s3://bucket/prefix,secret=NAME,endpoint=URL,region=NAME"
)
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
EBS_TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")
EBS, EFS = "ebs.csi.aws.com", "efs.csi.aws.com"


@dataclass(frozen=True)
class Storage:
    """One `--storage`, parsed."""

    kind: str
    """`default`, `local`, `claim`, `class`, `ebs`, `efs` or `s3`."""
    value: str = ""
    """Path, name, volume type, volume id or file system, as the kind has it."""
    where: str = ""
    """Node of a `local`, zone of a static `ebs` volume; empty = none."""
    size: int = 0
    """Bytes; 0 = as the run says."""
    s3: S3Place = field(default_factory=S3Place)
    """What is said of an `s3` beside its URL."""


def parse(text: str) -> Storage:
    """Read `--storage`, with an optional `,size=20Gi` at its end. Raises UsageError (J2K714)."""
    if not text:
        return Storage("default")
    body, _, more = text.partition(",")
    if body.startswith("s3://"):
        return Storage("s3", body, s3=_s3(body, more, text))
    size = _size(more, text) if more else 0
    kind, colon, rest = body.partition(":")
    value, _, where = rest.partition("@")
    form = {
        "local": value.startswith("/") and bool(NAME.fullmatch(where)),
        "claim": bool(NAME.fullmatch(value)) and not where,
        "class": bool(NAME.fullmatch(value)) and not where,
        "ebs": (value in EBS_TYPES and not where) or bool(re.fullmatch(r"vol-[0-9a-f]+", value) and where),
        "efs": bool(re.fullmatch(r"fs-[0-9a-f]+(::fsap-[0-9a-f]+)?", value)) and not where,
    }
    if not colon or not form.get(kind):
        raise _wrong(text, "one of these forms")
    return Storage(kind, value, where, size)


S3_PARTS = {
    "secret": NAME,
    "endpoint": re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[^\s?#]*)?"),
    "region": re.compile(r"[a-z0-9-]+"),
}


def _s3(url: str, more: str, whole: str) -> S3Place:
    # Characters that need no thought in a URL, a signature and a listing: so one key is one key everywhere.
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._=-]+)*/?", url):
        raise _wrong(whole, "a bucket and a prefix (letters, digits, . _ = -)")
    place = S3Place(url.rstrip("/"))
    for part in filter(None, more.split(",")):
        key, _, value = part.partition("=")
        if key == "size":
            place = replace(place, cache=_size(part, whole))
        elif key in S3_PARTS and S3_PARTS[key].fullmatch(value):
            said: Dict[str, Any] = {key: value}
            place = replace(place, **said)
        else:
            raise _wrong(whole, "a bucket with secret=, endpoint=, region= or size=")
    return place


def _size(text: str, whole: str) -> int:
    key, _, value = text.partition("=")
    try:
        size = int(parse_quantity(value))
    except ValueError as error:
        raise _wrong(whole, "a size such as `,size=20Gi`") from error
    if key != "size" or size <= 0:
        raise _wrong(whole, "a size such as `,size=20Gi`")
    return size


def _wrong(text: str, wanted: str) -> UsageError:
    return UsageError("J2K714", f"--storage {text!r} is not {wanted}", f"forms: {FORMS}")


def with_storage(spec: RunSpec, storage: Storage) -> RunSpec:
    """Return the run with its claim, class, size and access mode set."""
    size = storage.size or spec.storage_bytes
    if storage.kind == "claim":
        return replace(spec, claim=storage.value)
    if storage.kind == "class":
        return replace(spec, storage_class=storage.value, storage_bytes=size)
    if storage.kind in ("local", "ebs", "efs"):
        access = "ReadWriteMany" if storage.kind == "efs" else "ReadWriteOnce"
        return replace(spec, storage_class=class_name(spec, storage), storage_bytes=size, access=access)
    if storage.kind == "s3":
        if not storage.s3.secret and not spec.account:
            raise UsageError(
                "J2K715",
                "the run server would have no keys for S3",
                "name a Secret of the namespace that has AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                "(`--storage s3://…,secret=NAME`), or a service account that has a role (--service-account NAME)",
            )
        # As with claims: a place for each notebook of a namespace, so that nobody continues another's run.
        return replace(
            spec,
            s3=replace(
                storage.s3, url=f"{storage.s3.url}/{spec.namespace}/{spec.notebook or base_name(spec.run)}"
            ),
        )
    return replace(spec, storage_bytes=size)


def class_name(spec: RunSpec, storage: Storage) -> str:
    """Return the name of the class that a claim asks for: one for all runs, or that of the claim's own static volume.

    The latter is made by an administrator before the first run that uses the claim, and is there for those that follow.
    """
    if storage.kind == "ebs" and not storage.where:
        return f"jup2kub-ebs-{storage.value}"
    if storage.kind == "efs" and "::" not in storage.value:
        return f"jup2kub-efs-{storage.value}"
    place = digest([spec.namespace, claim_name(spec), storage.kind, storage.value, storage.where])
    return f"jup2kub-{storage.kind}-{place[:8]}"


def claim(spec: RunSpec) -> List[Obj]:
    """Return the claim of the run server's store; nothing if the user names one, or a bucket."""
    if spec.claim or spec.s3.url:
        return []
    wanted: Obj = {
        "accessModes": [spec.access],
        "resources": {"requests": {"storage": quantity(spec.storage_bytes)}},
    }
    if spec.storage_class:
        wanted["storageClassName"] = spec.storage_class
    made = metadata(spec, claim_name(spec), SERVER)
    if spec.notebook:
        # It outlives the run: what another run of the notebook can use is in it.
        made["labels"] = {NOTEBOOK: spec.notebook, **{k: v for k, v in made["labels"].items() if k != RUN}}
        made["labels"]["app.kubernetes.io/part-of"] = claim_name(spec)
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": made, "spec": wanted}]


def administrator_objects(spec: RunSpec, storage: Storage) -> List[Obj]:
    """Return what must be there before the claim can be bound, and what only an administrator may make."""
    name = class_name(spec, storage)
    if storage.kind == "local":
        volume = _volume(
            spec, name, {"local": {"path": storage.value}}, _on("kubernetes.io/hostname", storage.where)
        )
        return [_class(spec, name, "kubernetes.io/no-provisioner", {}), volume]
    if storage.kind == "ebs" and not storage.where:
        parameters = {"type": storage.value, "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4"}
        return [_class(spec, name, EBS, parameters, expand=True)]
    if storage.kind == "ebs":
        csi = {"driver": EBS, "volumeHandle": storage.value, "fsType": "ext4"}
        return [
            _class(spec, name, EBS, {}),
            _volume(spec, name, {"csi": csi}, _on("topology.kubernetes.io/zone", storage.where)),
        ]
    if storage.kind == "efs" and "::" not in storage.value:
        # The access point's owner overrides the pod's user, so both must be the same.
        parameters = {
            "provisioningMode": "efs-ap",
            "fileSystemId": storage.value,
            "directoryPerms": "700",
            "uid": str(spec.user),
            "gid": str(spec.user),
        }
        return [_class(spec, name, EFS, parameters, binding="Immediate")]
    if storage.kind == "efs":
        csi = {"driver": EFS, "volumeHandle": storage.value}
        return [_class(spec, name, EFS, {}, binding="Immediate"), _volume(spec, name, {"csi": csi}, {})]
    return []


def _class(
    spec: RunSpec,
    name: str,
    provisioner: str,
    parameters: Dict[str, str],
    *,
    binding: str = "WaitForFirstConsumer",
    expand: bool = False,
) -> Obj:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "labels": _wide(spec)},
        "provisioner": provisioner,
        "volumeBindingMode": binding,
        "reclaimPolicy": "Delete",
        **({"allowVolumeExpansion": True} if expand else {}),
        **({"parameters": parameters} if parameters else {}),
    }


def _volume(spec: RunSpec, name: str, source: Obj, affinity: Obj) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": _wide(spec)},
        "spec": {
            "capacity": {"storage": quantity(spec.storage_bytes)},
            "accessModes": [spec.access],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "claimRef": {"namespace": spec.namespace, "name": claim_name(spec)},
            **source,
            **affinity,
        },
    }


def _on(key: str, value: str) -> Obj:
    terms: Tuple[Obj, ...] = ({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]},)
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": list(terms)}}}


def _wide(spec: RunSpec) -> Dict[str, str]:
    return {k: v for k, v in labels(spec.run, "storage").items() if k.startswith("app.")}
