"""What runs: registered things, endpoints and their deployments, measurements."""

from deployments.models.endpoint import (
    AuthMode,
    Deployment,
    DeploymentRevision,
    DeploymentState,
    Endpoint,
    EndpointKey,
)
from deployments.models.metrics import MetricSample, RouterCursor, ScaleDecision
from deployments.models.registry import Artifact, BuildState, Environment, EnvironmentImage, Model

__all__ = [
    "Artifact",
    "AuthMode",
    "BuildState",
    "Deployment",
    "DeploymentRevision",
    "DeploymentState",
    "Endpoint",
    "EndpointKey",
    "Environment",
    "EnvironmentImage",
    "MetricSample",
    "Model",
    "RouterCursor",
    "ScaleDecision",
]
