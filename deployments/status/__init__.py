"""The cluster's objects to what is so, in words: pure functions."""

from deployments.status.causes import StatusCause, WayOut, cause_from_json
from deployments.status.deployment import Asked, DeploymentStatus, Seen, status_from_json, status_of
from deployments.status.replica import PHASES, ReplicaStatus, TailKey

__all__ = [
    "PHASES",
    "Asked",
    "DeploymentStatus",
    "ReplicaStatus",
    "Seen",
    "StatusCause",
    "TailKey",
    "WayOut",
    "cause_from_json",
    "status_from_json",
    "status_of",
]
