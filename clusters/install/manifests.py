"""Everything Slipway puts into a cluster to route requests, as a pure function of the settings.

    Namespace slipway-system (only when it is not there: an operator's own namespace is left as it is)
    CustomResourceDefinitions  OnlineEndpoint, InstanceType
    ServiceAccount routerd, ClusterRole slipway-routerd bound per target namespace, Role in slipway-system
    Secrets slipway-admin, slipway-artifacts; ConfigMap slipway-targets
    the router and the artifact cache: workloads.py

Every object carries the labels of contract.py with the UUID of the studio that made it: that is how another studio is
recognised, and how removal finds exactly what was made.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clusters.kube.kinds import Obj
from routerd import contract

ROUTER_ROLE = "slipway-routerd"
UPLOAD_TOKEN = "ROUTERD_ARTIFACTS_UPLOAD_TOKEN"  # noqa: S105  a key's name
SIGNING_KEY = "ROUTERD_ARTIFACTS_SIGNING_KEY"
_RBAC = "rbac.authorization.k8s.io/v1"
_READ = ["get", "list", "watch"]


@dataclass(frozen=True)
class Secrets:
    """What the studio, the router and the artifact cache know each other by."""

    admin_token: str = field(repr=False)
    upload_token: str = field(repr=False)
    signing_key: str = field(repr=False)


def labels(*, studio: str, app: str = "") -> dict[str, str]:
    """The labels of an object of ours."""
    found = {contract.MANAGED_BY: contract.MANAGED_BY_SLIPWAY, contract.STUDIO: studio}
    return found | ({contract.APP_NAME: app} if app else {})


def meta(name: str, *, studio: str, namespace: str = contract.SYSTEM_NAMESPACE, app: str = "") -> Obj:
    found: Obj = {"name": name, "labels": labels(studio=studio, app=app)}
    return found | ({"namespace": namespace} if namespace else {})


def namespace(name: str, *, studio: str, level: str = "restricted") -> Obj:
    """A namespace whose pods must follow Kubernetes' rules of this level."""
    rules = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels(studio=studio) | rules},
    }


def definitions(*, studio: str) -> list[Obj]:
    """The custom resources."""
    found = [contract.online_endpoint_crd(), contract.instance_type_crd()]
    for each in found:
        each["metadata"]["labels"] = labels(studio=studio)
    return found


def rights(*, studio: str, targets: Iterable[str], tls: Iterable[str] = (contract.TLS_SECRET,)) -> list[Obj]:
    """ServiceAccounts and what the router may do: read and scale in target namespaces, little in its own.

    `tls`: the Secrets with certificates, the only ones it may read.
    """
    system = {"kind": "Role", "name": contract.ROUTER}
    return [
        service_account(contract.ROUTER, studio=studio, token=True),
        service_account(contract.ARTIFACTS, studio=studio, token=False),
        {
            "apiVersion": _RBAC,
            "kind": "ClusterRole",
            "metadata": meta(ROUTER_ROLE, studio=studio, namespace=""),
            "rules": _target_rules(),
        },
        {
            "apiVersion": _RBAC,
            "kind": "Role",
            "metadata": meta(contract.ROUTER, studio=studio),
            "rules": _system_rules(sorted(set(tls))),
        },
        _binding(contract.ROUTER, studio=studio, namespace=contract.SYSTEM_NAMESPACE, role=system),
        *(target_binding(each, studio=studio) for each in sorted(set(targets))),
    ]


def service_account(name: str, *, studio: str, token: bool) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta(name, studio=studio, app=name),
        "automountServiceAccountToken": token,
    }


def target_binding(target: str, *, studio: str) -> Obj:
    """What lets the router serve one target namespace."""
    role = {"kind": "ClusterRole", "name": ROUTER_ROLE}
    return _binding(ROUTER_ROLE, studio=studio, namespace=target, role=role)


def _binding(name: str, *, studio: str, namespace: str, role: Mapping[str, str]) -> Obj:
    subject = {"kind": "ServiceAccount", "name": contract.ROUTER, "namespace": contract.SYSTEM_NAMESPACE}
    return {
        "apiVersion": _RBAC,
        "kind": "RoleBinding",
        "metadata": meta(name, studio=studio, namespace=namespace),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", **role},
        "subjects": [subject],
    }


def _target_rules() -> list[Obj]:
    return [
        {"apiGroups": [contract.GROUP], "resources": ["onlineendpoints"], "verbs": _READ},
        {
            "apiGroups": [contract.GROUP],
            "resources": ["onlineendpoints/status"],
            "verbs": ["get", "patch", "update"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": _READ},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch", "update"]},
    ]


def _system_rules(tls: list[str]) -> list[Obj]:
    """Each by name: the router lists and watches with `metadata.name=`, so a name narrows these verbs as well."""
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    return [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [contract.TARGETS_CONFIGMAP], "verbs": _READ},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": tls, "verbs": _READ},
        # (Its own Service's, to know the other routers; a selector cannot narrow a right.)
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        lease | {"verbs": ["create"]},
        lease | {"resourceNames": [contract.LEADER_LEASE], "verbs": ["get", "update"]},
    ]


def admin_secret(secrets: Secrets, *, studio: str) -> Obj:
    return _secret(contract.ADMIN_SECRET, {"token": secrets.admin_token}, studio=studio)


def artifacts_secret(secrets: Secrets, *, studio: str) -> Obj:
    values = {UPLOAD_TOKEN: secrets.upload_token, SIGNING_KEY: secrets.signing_key}
    return _secret(contract.ARTIFACTS, values, studio=studio)


def _secret(name: str, values: Mapping[str, str], *, studio: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta(name, studio=studio),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def targets_config_map(targets: Iterable[str], *, studio: str) -> Obj:
    """Which namespaces the router watches, one a line."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(contract.TARGETS_CONFIGMAP, studio=studio),
        "data": {"namespaces": "\n".join(sorted(set(targets)))},
    }
