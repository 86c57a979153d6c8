"""The OnlineEndpoint of an endpoint: all a router needs to know, and no secret."""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.manifests.labels import Obj, labels_of
from deployments.specs import DeploymentSpec
from routerd import contract


@dataclass(frozen=True)
class RoutedDeployment:
    """A deployment that lies in the cluster, with the spec that lies there."""

    spec: DeploymentSpec


@dataclass(frozen=True)
class EndpointShape:
    """What the row of an endpoint says."""

    studio: str
    namespace: str
    name: str
    auth_mode: str
    key_revision: int
    key_hashes: Mapping[str, str]  # name -> SHA-256, hex
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]


def online_endpoint(shape: EndpointShape, *, deployments: list[RoutedDeployment]) -> Obj:
    """The object. Traffic of deployments that do not lie in the cluster (yet) is left out."""
    there = {each.spec.name for each in deployments}
    keys = [{"name": name, "sha256": digest} for name, digest in sorted(shape.key_hashes.items())]
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "OnlineEndpoint",
        "metadata": {
            "name": shape.name,
            "namespace": shape.namespace,
            "labels": labels_of(studio=shape.studio, endpoint=shape.name),
        },
        "spec": {
            "auth": {"mode": shape.auth_mode, "keyRevision": shape.key_revision, "keys": keys},
            "traffic": {name: share for name, share in sorted(shape.traffic.items()) if name in there},
            "mirror": {name: share for name, share in sorted(shape.mirror.items()) if name in there},
            "deployments": [_deployment(each.spec) for each in sorted(deployments, key=lambda d: d.spec.name)],
        },
    }


def _deployment(spec: DeploymentSpec) -> Obj:
    workload = contract.workload_name(endpoint=spec.endpoint_name, deployment=spec.name)
    return {
        "name": spec.name,
        "service": workload,
        "workload": workload,
        "maxConcurrentRequestsPerInstance": spec.request.max_concurrent_requests_per_instance,
        "maxQueue": spec.queue_limit,
        "maxQueueWaitMs": spec.request.max_queue_wait_ms,
        "requestTimeoutMs": spec.request.request_timeout_ms,
        "scale": _scale(spec),
    }


def _scale(spec: DeploymentSpec) -> Obj:
    if not spec.scale.automatic:
        count = spec.instance_count or 0
        return {"mode": "fixed", "min": count, "max": max(1, count)}
    return {
        "mode": "auto",
        "min": spec.scale.min_instances,
        "max": spec.scale.max_instances,
        "targetUtilization": spec.scale.target_utilization_percentage,
        "scaleDownDelaySeconds": spec.scale.scale_down_delay_seconds,
    }
