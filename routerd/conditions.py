"""The conditions of an endpoint, from the table and the replicas HAProxy really uses. Pure."""

from collections.abc import Mapping
from typing import Final

from routerd.control import Condition
from routerd.routes import DeploymentRoute, EndpointRoute

READY: Final = "Ready"
HOSTS: Final = "Hosts"
ROUTED: Final = "Routed"
ANSWERING: Final = "Answering"
NO_READY_REPLICA: Final = "NoReadyReplica"
NO_TRAFFIC: Final = "NoTraffic"


def ready_condition(endpoint: EndpointRoute, *, serving: Mapping[str, int]) -> Condition:
    """Whether callers get answers; `serving`: replicas in rotation per deployment."""
    problems = [problem for problem in endpoint.problems if problem.type == READY]
    if problems:
        return Condition(READY, False, problems[0].reason, problems[0].message)
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


def host_conditions(endpoint: EndpointRoute) -> tuple[Condition, ...]:
    """Whether the host names the endpoint asks for lead to it; nothing where it asks for none."""
    problems = [problem for problem in endpoint.problems if problem.type == HOSTS]
    if problems:
        return (Condition(HOSTS, False, problems[0].reason, " ".join(problem.message for problem in problems)),)
    return (Condition(HOSTS, True, ROUTED, f"Answers as {', '.join(endpoint.hosts)}."),) if endpoint.hosts else ()


def _starts_on_demand(deployment: DeploymentRoute) -> bool:
    return deployment.scale.mode == "auto" and deployment.scale.min == 0
