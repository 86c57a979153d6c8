"""What must be true of a cluster before Slipway can work in it: who we are there, and what we may do.

Rights are asked for one by one with SelfSubjectAccessReviews, which change nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from clusters.kube.client import Kube
from clusters.kube.errors import Forbidden, NotFound
from clusters.kube.kinds import NAMESPACES, Obj
from routerd import contract


@dataclass(frozen=True)
class Right:
    """One verb on one resource; `namespace` "" means in all of them (or a cluster-wide resource)."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {name}{'.' + self.group if self.group else ''}{where}"


_RBAC = "rbac.authorization.k8s.io"
NEEDED = (
    Right("create", "namespaces"),
    Right("list", "nodes"),
    Right("list", "pods"),
    Right("get", "pods", subresource="log"),
    Right("get", "pods", subresource="proxy"),
    Right("create", "customresourcedefinitions", group="apiextensions.k8s.io"),
    Right("patch", "onlineendpoints", group=contract.GROUP),
    Right("patch", "instancetypes", group=contract.GROUP),
    Right("patch", "deployments", group="apps"),
    Right("patch", "services"),
    Right("patch", "secrets"),
    Right("patch", "configmaps"),
    Right("patch", "serviceaccounts"),
    Right("patch", "networkpolicies", group="networking.k8s.io"),
    Right("patch", "poddisruptionbudgets", group="policy"),
    Right("patch", "clusterroles", group=_RBAC),
    Right("patch", "roles", group=_RBAC),
    Right("patch", "rolebindings", group=_RBAC),
    Right("update", "services", subresource="proxy", namespace=contract.SYSTEM_NAMESPACE),
    Right("list", "events"),
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
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
    }


def _allowed(review: Obj) -> bool:
    return bool((review.get("status") or {}).get("allowed"))
