"""Where callers reach the router, from its Service, that Service's events and the nodes. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from clusters.capacity import Node
from clusters.install.progress import DEADLINE, MINUTES, Done, Going, Stuck, Verdict, event_time
from clusters.kube.kinds import Obj

PATIENCE = timedelta(seconds=10)
_PORT_REASONS = ("PortInUse", "PortTaken", "PortNotAvailable", "AllocationFailed")


def judge_address(
    service: Obj | None,
    *,
    events: Sequence[Obj],
    nodes: Sequence[Node],
    given: str,
    scheme: str,
    now: datetime,
    since: datetime,
) -> Verdict:
    """Where callers reach the router by http or https; `given` is an address the operator set, or ""."""
    if service is None:
        return Going("The Service is being made.")
    address = service_address(service, nodes=nodes, scheme=scheme)
    if address:
        return Done(text=f"Callers reach it at {given or address}.", address=given or address)
    warnings = [each for each in events if each.get("type") == "Warning"]
    if warnings and now - since > PATIENCE:
        return _refused(max(warnings, key=event_time), service)
    kind = service["spec"].get("type")
    if now - since > DEADLINE:
        return _without_controller(str(kind))
    return Going(f"Waiting for the {kind} to get an address.")


def _refused(warning: Obj, service: Obj) -> Stuck:
    proof = f"{warning.get('reason')}: {warning.get('message')}"
    message = str(warning.get("message")).lower()
    if warning.get("reason") in _PORT_REASONS or "in use" in message or "taken" in message:
        port, node_port = _first_port(service).get("port"), _first_port(service).get("nodePort")
        named = f"Node port {node_port}" if node_port and re.search(rf"\b{node_port}\b", message) else f"Port {port}"
        return Stuck(
            name="PortNotAvailable",
            text=f"{named} cannot be given to the router: something else listens there.",
            proof=proof,
            fixes=("Choose another one in the router's settings and install again.",),
        )
    return Stuck(
        name="AddressNotAvailable",
        text="The router gets no address.",
        proof=proof,
        fixes=("Mend what the message names, or choose NodePort, then install again.",),
    )


def _without_controller(kind: str) -> Stuck:
    nobody = "nothing in this cluster hands out addresses"
    return Stuck(
        name="LoadBalancerNotSupported" if kind == "LoadBalancer" else "AddressNotAvailable",
        text=f"The Service of type {kind} got no address in {MINUTES} minutes: {nobody}.",
        fixes=(
            "Choose NodePort in the router's settings and install again.",
            "Or install a load-balancer controller in the cluster first.",
        ),
    )


def service_address(service: Obj, *, nodes: Sequence[Node], scheme: str = "http") -> str:
    """`http://host:port` of a Service, without a trailing slash; "" while it has none."""
    spec = service.get("spec") or {}
    port = next((each for each in spec.get("ports") or () if each.get("name") == scheme), _first_port(service))
    kind = spec.get("type") or "ClusterIP"
    if kind == "LoadBalancer":
        given = (((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}])[0]
        return _url(scheme, given.get("ip") or given.get("hostname"), port.get("port"))
    if kind == "NodePort":
        host = next((node.address for node in nodes if node.ready and node.address), "")
        return _url(scheme, host, port.get("nodePort"))
    return _url(scheme, spec.get("clusterIP"), port.get("port")) if spec.get("clusterIP") != "None" else ""


def _first_port(service: Obj) -> Obj:
    return dict(((service.get("spec") or {}).get("ports") or [{}])[0])


def _url(scheme: str, host: object, port: object) -> str:
    if not host or not port:
        return ""
    named = f"[{host}]" if ":" in str(host) else str(host)
    usual = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{named}" if port == usual else f"{scheme}://{named}:{port}"
