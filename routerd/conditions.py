"""The Ready condition of an endpoint, from the table and the replicas HAProxy really uses. Pure."""

from collections.abc import Mapping
from typing import Final

from routerd.control import Condition
from routerd.routes import DeploymentRoute, EndpointRoute

READY: Final = "Ready"
ANSWERING: Final = "Answering"
NO_READY_REPLICA: Final = "NoReadyReplica"
NO_TRAFFIC: Final = "NoTraffic"


def ready_condition(endpoint: EndpointRoute, *, serving: Mapping[str, int]) -> Condition:
    """Whether callers get answers; `serving`: replicas in rotation per deployment."""
    if endpoint.problems:
        problem = endpoint.problems[0]
        return Condition(READY, False, problem.reason, problem.message)
    if not endpoint.traffic:
        message = "No deployment has a weight above zero: only pinned requests are answered."
        return Condition(READY, False, NO_TRAFFIC, message)
    weighted = {name for name, _ in endpoint.traffic}
    silent = [
        d.name
        for d in endpoint.deployments
        if d.name in weighted and not serving.get(d.name) and not _starts_on_demand(d)
    ]
    if silent:
        message = f"No ready replica of {', '.join(silent)}: see the status of its pods."
        return Condition(READY, False, NO_READY_REPLICA, message)
    count = sum(serving.get(name, 0) for name in weighted)
    message = f"{count} ready replicas take traffic." if count else "Scaled to zero: starts on demand."
    return Condition(READY, True, ANSWERING, message)


def _starts_on_demand(deployment: DeploymentRoute) -> bool:
    return deployment.scale.mode == "auto" and deployment.scale.min == 0
