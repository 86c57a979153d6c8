"""The router's objects for a measurement: endpoints with a key, a split of two deployments and a queue."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from routerd.contract import key_hash

KEY: Final = "benchmark-key-0123456789abcdefghij"
MODEL_PORTS: Final = tuple(range(5001, 5005))
NAMESPACE: Final = "benchmark"


def endpoint(
    name: str,
    *,
    deployments: Sequence[str],
    concurrency: int,
    traffic: dict[str, int],
    queue: int = 200,
    auth: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An OnlineEndpoint; with one key where `auth` (its `spec.auth`) is not given."""
    made = [
        {
            "name": deployment,
            "service": f"{name}--{deployment}",
            "workload": f"{name}--{deployment}",
            "maxConcurrentRequestsPerInstance": concurrency,
            "maxQueue": queue,
            "maxQueueWaitMs": 60_000,
            "requestTimeoutMs": 60_000,
            "scale": {"mode": "fixed", "min": 1, "max": 4},
        }
        for deployment in deployments
    ]
    key = {"mode": "key", "keyRevision": 1, "keys": [{"name": "primary", "sha256": key_hash(KEY)}]}
    metadata = {"namespace": NAMESPACE, "name": name, "uid": f"uid-{name}", "generation": 1}
    return {
        "kind": "OnlineEndpoint",
        "metadata": metadata,
        "spec": {"auth": auth or key, "traffic": traffic, "deployments": made},
    }


def slices(name: str, *, deployment: str, replicas: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """One EndpointSlice per replica (address, port), because their ports differ."""
    return [
        {
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": NAMESPACE,
                "name": f"{name}--{deployment}-{number}",
                "labels": {"kubernetes.io/service-name": f"{name}--{deployment}"},
            },
            "ports": [{"port": port}],
            "endpoints": [{"addresses": [address], "targetRef": {"name": f"{name}-{deployment}-{number}"}}],
        }
        for number, (address, port) in enumerate(replicas)
    ]


def write(path: Path, *, items: Iterable[dict[str, Any]]) -> Path:
    """Write objects as the file `routerd --objects` reads; replaced, never half written."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps({"kind": "List", "items": list(items)}))
    partial.replace(path)
    return path


def split_endpoint(*, address: str) -> list[dict[str, Any]]:
    """`credit`: 90 % to blue, 10 % to green, which share the four fast model servers."""
    replicas = [(address, port) for port in MODEL_PORTS]
    return [
        endpoint("credit", deployments=("blue", "green"), concurrency=64, traffic={"blue": 90, "green": 10}),
        *slices("credit", deployment="blue", replicas=replicas),
        *slices("credit", deployment="green", replicas=replicas),
    ]


def one_endpoint(name: str, *, address: str, auth: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """An endpoint whose one deployment has the four fast model servers."""
    replicas = [(address, port) for port in MODEL_PORTS]
    return [
        endpoint(name, deployments=("blue",), concurrency=64, traffic={"blue": 100}, auth=auth),
        *slices(name, deployment="blue", replicas=replicas),
    ]


def many(*, endpoints: int, address: str) -> list[dict[str, Any]]:
    """So many endpoints of one deployment with four replicas."""
    replicas = [(address, port) for port in MODEL_PORTS]
    items: list[dict[str, Any]] = []
    for number in range(endpoints):
        name = f"e{number:04d}"
        items.append(endpoint(name, deployments=("blue",), concurrency=4, traffic={"blue": 100}))
        items += slices(name, deployment="blue", replicas=replicas)
    return items
