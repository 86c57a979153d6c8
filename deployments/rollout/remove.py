"""Delete what lies in a cluster, found by its labels, so that nothing is left of a version that made other objects."""

from typing import Final

from clusters.kube.client import Kube
from clusters.kube.kinds import (
    DEPLOYMENTS,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Kind,
)
from routerd import contract

# The workload first: nothing may start again what is being deleted.
_KINDS: Final[tuple[Kind, ...]] = (
    DEPLOYMENTS,
    SERVICES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    SECRETS,
    SERVICE_ACCOUNTS,
)


def _selector(*, endpoint: str, deployment: str) -> str:
    labels = f"{contract.MANAGED_BY}={contract.MANAGED_BY_SLIPWAY},{contract.ENDPOINT}={endpoint}"
    return f"{labels},{contract.DEPLOYMENT}={deployment}" if deployment else f"{labels},{contract.DEPLOYMENT}"


def delete_objects(kube: Kube, *, namespace: str, endpoint: str, deployment: str = "") -> None:
    """Delete the objects of one deployment, or ("") of all deployments of an endpoint. Twice does nothing."""
    selector = _selector(endpoint=endpoint, deployment=deployment)
    for kind in _KINDS:
        for obj in kube.list(kind, namespace, label_selector=selector):
            if not obj["metadata"].get("deletionTimestamp"):
                kube.delete(kind, obj["metadata"]["name"], namespace, uid=obj["metadata"].get("uid"))


def what_is_left(kube: Kube, *, namespace: str, endpoint: str, deployment: str = "") -> list[str]:
    """What is still there, as `Pod name`; pods finish their requests before they go."""
    selector = _selector(endpoint=endpoint, deployment=deployment)
    return [
        f"{kind.kind} {obj['metadata']['name']}"
        for kind in (*_KINDS, REPLICA_SETS, PODS)
        for obj in kube.list(kind, namespace, label_selector=selector)
    ]
