"""Services at the start of the cluster: that of the API server itself, and those whose addresses are no longer ours."""

from typing import Final

from clusters.embedded.addresses import Block
from clusters.embedded.registry import Registry
from clusters.embedded.resources import ENDPOINT_SLICES, SERVICES

Address = tuple[str, int]
_KUBERNETES: Final = "kubernetes"


def move_services(registry: Registry, *, block: Block) -> None:
    """The block may be another than last time: give Services addresses in this one."""
    for service in registry.list(SERVICES):
        address = service["spec"].get("clusterIP")
        if not address or address == "None" or block.holds_service(address):
            continue
        # One that leads elsewhere for a moment gives its address back: this is how any Service gets another.
        spec = {key: value for key, value in service["spec"].items() if key not in {"clusterIP", "clusterIPs"}}
        elsewhere = {**spec, "type": "ExternalName", "externalName": "moving.invalid"}
        moving = registry.update(SERVICES, {**service, "spec": elsewhere})
        if (service["metadata"]["namespace"], service["metadata"]["name"]) == ("default", _KUBERNETES):
            spec["clusterIP"] = block.kubernetes_ip
        registry.update(SERVICES, {**moving, "spec": spec})


def publish_api(registry: Registry, *, block: Block, where: Address) -> None:
    """The Service `kubernetes` and where it leads: this very API server."""
    host, port_number = where
    labels = {"component": "apiserver", "provider": "kubernetes"}
    if registry.find(SERVICES, "default", _KUBERNETES) is None:
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}
        spec = {"clusterIP": block.kubernetes_ip, "type": "ClusterIP", "ports": [port]}
        body = {"metadata": {"name": _KUBERNETES, "labels": labels}, "spec": spec}
        registry.create(SERVICES, body, namespace="default")
    slice_ = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port_number, "protocol": "TCP"}],
    }
    metadata = {"name": _KUBERNETES, "labels": {"kubernetes.io/service-name": _KUBERNETES}}
    old = registry.find(ENDPOINT_SLICES, "default", _KUBERNETES)
    if old is None:
        registry.create(ENDPOINT_SLICES, {"metadata": metadata, **slice_}, namespace="default")
    else:
        registry.update(ENDPOINT_SLICES, {**old, **slice_})
