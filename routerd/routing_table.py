"""From the API server's objects to the routing table.

One pure function, `build_table`, turns OnlineEndpoints and EndpointSlices (plain dictionaries, as they
come from a list) into frozen values. It knows nothing of HAProxy, of time or of what ran before, so the
same objects always give the same table.

Four rules live here and in `endpoint_spec`, and nowhere else:

- A bad object never raises. What is wrong becomes a `Problem` on the endpoint; a bad deployment is left
  out, and an endpoint whose authentication cannot be understood is not routed at all (it fails closed).
- Endpoint names are unique in a cluster. The oldest OnlineEndpoint of a name wins (by UID where two are
  equally old); the others carry `NameTaken` and are not routed.
- A host name belongs to the oldest endpoint that names it; the others are routed without it.
- A replica is a ready address of an EndpointSlice of the deployment's Service, in the endpoint's own
  namespace, named after its pod.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from routerd.callers_spec import AllowedHosts
from routerd.endpoint_spec import read_endpoint
from routerd.routes import HOST_TAKEN, NAME_TAKEN, EndpointRoute, Object, Problem, Replica, RoutingTable

SERVICE_LABEL: Final = "kubernetes.io/service-name"
_ADDRESS: Final = re.compile(r"[0-9a-fA-F.:]+")
_POD_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def build_table(
    *, endpoints: Iterable[Object], slices: Iterable[Object], allowed_hosts: AllowedHosts | None = None
) -> RoutingTable:
    """The routing table for OnlineEndpoints and EndpointSlices (dictionaries as the API server sends them).

    `allowed_hosts`: the host names the operator allowed, by namespace; none where it is not given.
    Never raises for what an object holds; see the module's essay.
    """
    replicas = ready_replicas(slices)
    taken: dict[str, str] = {}
    hosts: dict[str, str] = {}
    routes = []
    for item in sorted(endpoints, key=_age):
        route = read_endpoint(item, replicas=replicas, allowed_hosts=allowed_hosts or {})
        winner = taken.setdefault(route.name, route.key)
        routes.append(_settle_hosts(route, taken=hosts) if winner == route.key else _refuse_name(route, winner=winner))
    return RoutingTable(endpoints=tuple(sorted(routes, key=lambda r: r.key)))


def ready_replicas(slices: Iterable[Object]) -> dict[tuple[str, str], tuple[Replica, ...]]:
    """Ready replicas per (namespace, Service), sorted by name, each pod once."""
    found: dict[tuple[str, str], dict[str, Replica]] = {}
    for item in slices:
        metadata = item.get("metadata") or {}
        service = (metadata.get("labels") or {}).get(SERVICE_LABEL)
        port = _port(item)
        if not service or port is None:
            continue
        pods = found.setdefault((metadata.get("namespace", ""), service), {})
        for endpoint in item.get("endpoints") or ():
            replica = _replica(endpoint, port=port)
            if replica:
                pods.setdefault(replica.name, replica)
    return {key: tuple(pods[name] for name in sorted(pods)) for key, pods in found.items()}


def _age(item: Object) -> tuple[str, str]:
    metadata = item.get("metadata") or {}
    return (str(metadata.get("creationTimestamp") or "~"), str(metadata.get("uid") or ""))


def _port(item: Object) -> int | None:
    for port in item.get("ports") or ():
        number = port.get("port")
        if isinstance(number, int) and (port.get("protocol") or "TCP") == "TCP":
            return number
    return None


def _replica(endpoint: Object, *, port: int) -> Replica | None:
    conditions = endpoint.get("conditions") or {}
    addresses = endpoint.get("addresses") or ()
    # Absent means ready (the API's own default); a terminating pod is never ready.
    if conditions.get("ready") is False or conditions.get("terminating") or not addresses:
        return None
    address = str(addresses[0])
    name = str((endpoint.get("targetRef") or {}).get("name") or address.replace(":", "."))
    # Both go into HAProxy commands: whatever could end or split a command is not a replica.
    if not _ADDRESS.fullmatch(address) or not _POD_NAME.fullmatch(name):
        return None
    return Replica(name=name, address=address, port=port)


def _refuse_name(route: EndpointRoute, *, winner: str) -> EndpointRoute:
    message = f"The endpoint name {route.name} is in use by the older {winner}: choose another name."
    problem = Problem(type="Ready", reason=NAME_TAKEN, message=message)
    return replace(route, problems=(problem, *route.problems), routed=False)


def _settle_hosts(route: EndpointRoute, *, taken: dict[str, str]) -> EndpointRoute:
    """The route with the hosts nobody older has; `taken` (host -> endpoint) learns them."""
    if not route.routed:
        return route
    lost = [host for host in route.hosts if taken.setdefault(host, route.key) != route.key]
    if not lost:
        return route
    told = tuple(
        Problem("Hosts", HOST_TAKEN, f"The host {host} is in use by the older {taken[host]}: choose another.")
        for host in lost
    )
    hosts = tuple(host for host in route.hosts if host not in lost)
    return replace(route, hosts=hosts, problems=(*route.problems, *told))
