"""What lies in a namespace that is not ours: the reason to leave the namespace alone."""

from clusters.install.progress import ours
from clusters.kube.client import Kube
from clusters.kube.errors import Forbidden, NotFound
from clusters.kube.kinds import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    JOBS,
    ONLINE_ENDPOINTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Obj,
)

_LOOKED_AT = (
    DEPLOYMENTS,
    STATEFUL_SETS,
    JOBS,
    PODS,
    SERVICES,
    SECRETS,
    PERSISTENT_VOLUME_CLAIMS,
    CONFIG_MAPS,
    ONLINE_ENDPOINTS,
)
_OF_THE_CLUSTER = ("kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert")


def foreign_objects(kube: Kube, namespace: str, *, studio: str) -> list[str]:
    """`Kind name` of objects in a namespace this studio did not make, without what Kubernetes puts there."""
    found: list[str] = []
    for kind in _LOOKED_AT:
        try:
            listed = kube.list(kind, namespace)
        except NotFound:  # a kind this cluster does not have
            continue
        except Forbidden:
            return [f"{kind.plural} that Slipway may not list"]
        found += [f"{kind.kind} {obj['metadata']['name']}" for obj in listed if not _expected(obj, studio=studio)]
    return found


def _expected(obj: Obj, *, studio: str) -> bool:
    return (
        ours(obj, studio=studio)
        or obj["metadata"]["name"] in _OF_THE_CLUSTER
        or obj.get("type") == "kubernetes.io/service-account-token"
        or bool(obj["metadata"].get("ownerReferences"))  # goes with its owner, which is listed itself
    )
