"""Names and labels every object of ours carries."""

from typing import Any

from routerd import contract

Obj = dict[str, Any]

APP = "online-deployment"


def labels_of(*, studio: str, endpoint: str, deployment: str = "") -> dict[str, str]:
    """Labels of an object of an endpoint, or of one of its deployments."""
    labels = {
        contract.MANAGED_BY: contract.MANAGED_BY_SLIPWAY,
        contract.APP_NAME: APP,
        contract.STUDIO: studio,
        contract.ENDPOINT: endpoint,
    }
    return labels | ({contract.DEPLOYMENT: deployment} if deployment else {})


def pod_selector(*, endpoint: str, deployment: str) -> dict[str, str]:
    """What the workload and the Service pick pods by; it can never change."""
    return {contract.APP_NAME: APP, contract.ENDPOINT: endpoint, contract.DEPLOYMENT: deployment}
