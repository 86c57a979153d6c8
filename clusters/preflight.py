"""What must be true of a cluster before Slipway can work in it: who we are there, and what we may do.

Rights are asked for one by one with SelfSubjectAccessReviews, which change nothing. An API server asks for more than
the verb one sends: a server-side apply that makes an object needs `create` besides `patch`, and whoever writes a role
or binds it must hold every right in it. So the rights of routerd are asked for too; nobody needs `escalate` or `bind`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from clusters.install import manifests
from clusters.kube.client import Kube
from clusters.kube.errors import Forbidden, NotFound
from clusters.kube.kinds import NAMESPACES, Obj
from routerd import contract


@dataclass(frozen=True)
class Right:
    """One verb on one resource; `namespace` "" means in all of them (or a cluster-wide resource), `name` "" any."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        name = f" {self.name}" if self.name else ""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{'.' + self.group if self.group else ''}{name}{where}"


def _rights(verbs: str, resources: str, *, group: str = "", namespace: str = "") -> Iterator[Right]:
    for resource, _, subresource in (each.partition("/") for each in resources.split()):
        for verb in verbs.split():
            yield Right(verb, resource, group=group, namespace=namespace, subresource=subresource)


def _handed_on() -> Iterator[Right]:
    """What the router's roles hold, where they are written."""
    for obj in manifests.rights(studio="", targets=()):
        namespace = obj["metadata"].get("namespace", "")
        for rule in obj.get("rules", ()):
            yield from _of_rule(rule, namespace=namespace)


def _of_rule(rule: Obj, *, namespace: str) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource, _, subresource in (each.partition("/") for each in rule["resources"]):
            for name in rule.get("resourceNames", ("",)):
                for verb in rule["verbs"]:
                    yield Right(verb, resource, group, namespace, subresource, name)


_RBAC = "rbac.authorization.k8s.io"
_SYSTEM = contract.SYSTEM_NAMESPACE
_OWN = "get list create patch delete"  # apply makes and changes
_USED = (
    *_rights("get create delete", "namespaces"),
    *_rights("list", "nodes"),
    *_rights("get list watch", "pods"),
    *_rights("get", "pods/log"),
    *_rights("list watch", "events"),
    *_rights(f"{_OWN} watch", "deployments", group="apps"),
    *_rights("list watch", "replicasets", group="apps"),
    *_rights(_OWN, "services secrets serviceaccounts"),
    *_rights(_OWN, "networkpolicies", group="networking.k8s.io"),
    *_rights(_OWN, "poddisruptionbudgets", group="policy"),
    *_rights(f"{_OWN} watch", "onlineendpoints", group=contract.GROUP),
    *_rights(_OWN, "instancetypes", group=contract.GROUP),
    *_rights("get create patch delete", "customresourcedefinitions", group="apiextensions.k8s.io"),
    *_rights("get create patch delete", "clusterroles", group=_RBAC),
    *_rights("list create patch delete", "rolebindings", group=_RBAC),
    *_rights("list", "storageclasses", group="storage.k8s.io"),
    # Whether a namespace holds anything of others, before it is removed
    *_rights("list", "configmaps persistentvolumeclaims"),
    *_rights("list", "statefulsets", group="apps"),
    *_rights("list", "jobs", group="batch"),
    # Only where the router and the artifact cache are
    *_rights("get create patch delete", "roles", group=_RBAC, namespace=_SYSTEM),
    *_rights("get create patch delete", "configmaps persistentvolumeclaims", namespace=_SYSTEM),
    *_rights("get create update", "pods/proxy", namespace=_SYSTEM),
    *_rights("get update", "services/proxy", namespace=_SYSTEM),
    *_rights("get delete", "leases", group="coordination.k8s.io", namespace=_SYSTEM),
)
NEEDED = (
    *_USED,
    # A wider right is asked for above already.
    *(
        right
        for right in _handed_on()
        if not {right, replace(right, name=""), replace(right, name="", namespace="")} & set(_USED)
    ),
)


def identity_of(kube: Kube) -> str:
    """The UID of the namespace kube-system: what makes a cluster that cluster."""
    return str(kube.get(NAMESPACES, "kube-system")["metadata"]["uid"])


def user_of(kube: Kube) -> str:
    """Who the API server takes us for; "" where it does not say. Raises Unauthorized."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    try:
        told = kube.create(review)
    except (NotFound, Forbidden):
        return ""
    return str(((told.get("status") or {}).get("userInfo") or {}).get("username") or "")


def missing_rights(kube: Kube, *, needed: Iterable[Right] = NEEDED) -> list[Right]:
    """The rights we do not have. Raises NotFound where the server cannot be asked."""
    return [right for right in needed if not _allowed(kube.create(_review(right)))]


def _review(right: Right) -> Obj:
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }


def _allowed(review: Obj) -> bool:
    return bool((review.get("status") or {}).get("allowed"))
