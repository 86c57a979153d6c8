"""Specs to Kubernetes objects: pure functions, the same input gives the same objects."""

from deployments.manifests.build import BuildShape, build_name, build_pod, image_reference
from deployments.manifests.deployment import Placement, deployment_objects
from deployments.manifests.endpoint import EndpointShape, RoutedDeployment, online_endpoint

__all__ = [
    "BuildShape",
    "EndpointShape",
    "Placement",
    "RoutedDeployment",
    "build_name",
    "build_pod",
    "deployment_objects",
    "image_reference",
    "online_endpoint",
]
