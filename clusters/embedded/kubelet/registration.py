"""A node makes itself known: its Node object, and the Lease by which the cluster sees that it lives."""

import logging
from typing import Final

from clusters.embedded.kubelet.node import ISOLATION_ANNOTATION, MEMORY_ANNOTATION, Node, node_object, now_text
from clusters.embedded.resources import LEASES, NODES, Obj

log = logging.getLogger(__name__)

_NAMESPACE: Final = "kube-node-lease"
LEASE_SECONDS: Final = 40


def register(node: Node) -> None:
    """Write the Node, ready; what others wrote on it (labels, taints, extended resources) stays."""
    registry = node.registry
    annotations = {
        ISOLATION_ANNOTATION: node.isolation.word,
        MEMORY_ANNOTATION: "none" if node.memory_cgroup is None else "enforced",
    }
    wanted = node_object(
        node.plan, capacity=node.allocatable, annotations=annotations, address=node.address, now=now_text()
    )
    old = registry.find(NODES, None, node.name)
    if old is None:
        registry.create(NODES, wanted)
    else:
        metadata = {**old["metadata"]}
        for key in ("labels", "annotations"):
            metadata[key] = {**(metadata.get(key) or {}), **wanted["metadata"][key]}
        registry.update(NODES, {**old, "metadata": metadata})
        for key in ("capacity", "allocatable"):
            wanted["status"][key] = _extended((old.get("status") or {}).get(key) or {}) | wanted["status"][key]
    current = registry.get(NODES, None, node.name)
    registry.update_status(NODES, {**current, "status": wanted["status"]})
    renew_lease(node)


def keep_alive(node: Node) -> bool:
    """Renew the Lease. True when the node had been given up meanwhile, and was told to be ready again. Raises ApiError.

    A machine that slept for a while finds its Lease too old, and its node and pods called not ready.
    """
    renew_lease(node)
    known = node.registry.find(NODES, None, node.name)
    conditions = ((known or {}).get("status") or {}).get("conditions") or ()
    if all(condition["status"] != "Unknown" for condition in conditions):
        return False
    register(node)
    log.info("Node is ready again node=%s", node.name)
    return True


def _extended(amounts: Obj) -> Obj:
    """What a device plug-in, or somebody by hand, has added."""
    return {name: amount for name, amount in amounts.items() if "/" in name}


def renew_lease(node: Node) -> None:
    """Raises ApiError."""
    registry = node.registry
    spec = {
        "holderIdentity": node.name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": registry.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    old = registry.find(LEASES, _NAMESPACE, node.name)
    if old is None:
        lease = {"metadata": {"name": node.name, "namespace": _NAMESPACE}, "spec": spec}
        registry.create(LEASES, lease, namespace=_NAMESPACE)
    else:
        registry.update(LEASES, {**old, "spec": spec})
