"""Accounts and rights, the disruption budget, and what may speak to whom."""

from __future__ import annotations

from typing import Any, Dict, List

from jup2kub.manifests.objects import RUN, base_name, metadata, selector
from jup2kub.manifests.spec import AGENT, PORT, SERVER, RunSpec

Obj = Dict[str, Any]
RULES: List[Obj] = [
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["create", "get", "list", "watch", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch", "delete"]},
    {
        "apiGroups": [""],
        "resources": ["events", "limitranges", "resourcequotas"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
]
"""What the run server does in its namespace: no secrets, no exec, nothing cluster-wide."""


def account(spec: RunSpec) -> List[Obj]:
    """Return the run server's service account with its rights; nothing if the user names one."""
    if spec.account or spec.jobs_by != "server":
        return []
    name = base_name(spec.run)
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(spec, name, SERVER),
            "automountServiceAccountToken": False,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata(spec, name, SERVER),
            "rules": [{k: list(v) for k, v in rule.items()} for rule in RULES],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(spec, name, SERVER),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": spec.namespace}],
        },
    ]


def disruption_budget(spec: RunSpec) -> Obj:
    """Return the budget of the run server alone: one over Jobs would block drains of nodes for hours."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(spec, base_name(spec.run), SERVER),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(spec.run, SERVER)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def network_policies(spec: RunSpec) -> List[Obj]:
    """Return who may speak to whom: agents to the server, DNS and `egress`; nobody to agents; everybody's API server to the server.

    The service proxy's connections come from nodes, which no portable selector names: the run's token guards the port.
    """
    if not spec.network_policy:
        return []
    dns: List[Obj] = [{"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}]
    to_server: List[Obj] = [
        {
            "to": [{"podSelector": {"matchLabels": selector(spec.run, SERVER)}}],
            "ports": [{"port": PORT, "protocol": "TCP"}],
        }
    ]
    outside: List[Obj] = (
        [{"to": [{"ipBlock": {"cidr": cidr}} for cidr in spec.egress]}] if spec.egress else []
    )
    name = base_name(spec.run)
    return [
        _policy(spec, f"{name}-agents", {RUN: spec.run}, AGENT, [], dns + to_server + outside),
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(spec, f"{name}-server", SERVER),
            "spec": {
                "podSelector": {"matchLabels": selector(spec.run, SERVER)},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
            },
        },
    ]


def _policy(
    spec: RunSpec, name: str, chosen: Dict[str, str], component: str, ingress: List[Obj], egress: List[Obj]
) -> Obj:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, name, component),
        "spec": {
            "podSelector": {"matchLabels": {**chosen, **selector(spec.run, component)}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }
