"""The ClusterRoles every cluster starts with, and who has them: a real cluster's, as far as its kinds exist here.

`view`, `edit` and `admin` collect the rules of ClusterRoles labelled for them, so a CustomResourceDefinition's
author can add to them; the built-in rights are in `system:aggregate-to-*`.
"""

from typing import Final

from clusters.embedded.rbac import AUTHENTICATED, MASTERS
from clusters.embedded.resources import Obj

_AGGREGATE: Final = "rbac.authorization.k8s.io/aggregate-to-"
_BOOTSTRAP: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_READ: Final = ["get", "list", "watch"]
_WRITE: Final = ["create", "delete", "deletecollection", "patch", "update"]
_RBAC: Final = "rbac.authorization.k8s.io"
_SCALED: Final = ["deployments", "replicasets"]
_WORKLOADS: Final = [*_SCALED, *(f"{name}/scale" for name in _SCALED)]
_HEALTH: Final = ["/healthz", "/livez", "/readyz", "/version", "/version/"]


def _rule(group: str, resources: list[str], verbs: list[str]) -> Obj:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _with_status(*resources: str) -> list[str]:
    return [text for name in resources for text in (name, f"{name}/status")]


_DISCOVERY: Final[list[Obj]] = [
    {
        "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_HEALTH],
        "verbs": ["get"],
    }
]
_BASIC: Final[list[Obj]] = [
    _rule("authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
    _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
]
_VIEW: Final[list[Obj]] = [
    _rule("", ["configmaps", "endpoints", "events", "limitranges", "namespaces", "namespaces/status"], _READ),
    _rule("", ["bindings", "pods/log", "serviceaccounts"], _READ),
    _rule("", _with_status("persistentvolumeclaims", "pods", "resourcequotas", "services"), _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _READ),
    _rule("apps", _WORKLOADS, _READ),
    _rule("apps", [f"{name}/status" for name in _SCALED], _READ),
    _rule("autoscaling", _with_status("horizontalpodautoscalers"), _READ),
    _rule("batch", _with_status("jobs"), _READ),
    _rule("policy", _with_status("poddisruptionbudgets"), _READ),
    _rule("networking.k8s.io", [*_with_status("ingresses"), "networkpolicies"], _READ),
]
_INTO_PODS: Final = ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"]
_EDIT: Final[list[Obj]] = [
    _rule("", [*_INTO_PODS, "secrets", "services/proxy"], _READ),
    _rule("", ["serviceaccounts"], ["impersonate"]),
    _rule("", ["pods", *_INTO_PODS, "services", "services/proxy"], _WRITE),
    _rule("", ["configmaps", "events", "persistentvolumeclaims", "secrets", "serviceaccounts"], _WRITE),
    _rule("", ["pods/eviction", "serviceaccounts/token"], ["create"]),
    _rule("apps", _WORKLOADS, _WRITE),
    _rule("autoscaling", ["horizontalpodautoscalers"], _WRITE),
    _rule("batch", ["jobs"], _WRITE),
    _rule("policy", ["poddisruptionbudgets"], _WRITE),
    _rule("networking.k8s.io", ["ingresses", "networkpolicies"], _WRITE),
    _rule("coordination.k8s.io", ["leases"], _READ + _WRITE),
]
_ADMIN: Final[list[Obj]] = [
    _rule("authorization.k8s.io", ["localsubjectaccessreviews"], ["create"]),
    _rule(_RBAC, ["rolebindings", "roles"], _READ + _WRITE),
]
_ALL: Final[list[Obj]] = [
    _rule("*", ["*"], ["*"]),
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]


def _role(name: str, rules: list[Obj], *, into: str = "", collects: str = "") -> Obj:
    """`into` and `collects` are admin, edit or view: which one it adds to, whose parts it is made of."""
    labels = _BOOTSTRAP | ({f"{_AGGREGATE}{into}": "true"} if into else {})
    role: Obj = {"metadata": {"name": name, "labels": labels}, "rules": rules}
    if collects:
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{collects}": "true"}}]}
    return role


CLUSTER_ROLES: Final[list[Obj]] = [
    _role("cluster-admin", _ALL),
    _role("admin", [], collects="admin"),
    _role("edit", [], into="admin", collects="edit"),
    _role("view", [], into="edit", collects="view"),
    _role("system:aggregate-to-admin", _ADMIN, into="admin"),
    _role("system:aggregate-to-edit", _EDIT, into="edit"),
    _role("system:aggregate-to-view", _VIEW, into="view"),
    _role("system:basic-user", _BASIC),
    _role("system:discovery", _DISCOVERY),
    _role("system:public-info-viewer", [{"nonResourceURLs": _HEALTH, "verbs": ["get"]}]),
]


def _bound(role: str, *groups: str) -> Obj:
    subjects = [{"apiGroup": _RBAC, "kind": "Group", "name": group} for group in groups]
    reference = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role}
    return {"metadata": {"name": role, "labels": _BOOTSTRAP}, "roleRef": reference, "subjects": subjects}


CLUSTER_ROLE_BINDINGS: Final[list[Obj]] = [
    _bound("cluster-admin", MASTERS),
    _bound("system:basic-user", AUTHENTICATED),
    _bound("system:discovery", AUTHENTICATED),
    _bound("system:public-info-viewer", AUTHENTICATED, "system:unauthenticated"),
]
