"""From the API server's objects to the routing table.

`build_table` turns OnlineEndpoints and EndpointSlices (plain dictionaries, as they come from a list) into
frozen values. It knows nothing of HAProxy or of time, so the same objects always give the same table. A
`TableBuilder` makes one table after the other: of a thousand endpoints it reads only those that changed.

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
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from routerd.callers_spec import AllowedHosts
from routerd.endpoint_spec import read_endpoint
from routerd.routes import HOST_TAKEN, NAME_TAKEN, EndpointRoute, Object, Problem, Replica, RoutingTable

ServiceKey = tuple[str, str]  # namespace, Service
_SliceReplicas = Mapping[ServiceKey, tuple[Replica, ...]]

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
    return TableBuilder().build(endpoints=endpoints, slices=slices, allowed_hosts=allowed_hosts)


class TableBuilder:
    """Makes routing tables from objects that are replaced when they change, never changed in place.

    What it read of an object is kept beside it, for as long as the object is part of the last table.
    """

    def __init__(self) -> None:
        self._hosts: AllowedHosts = {}
        self._routes: dict[int, tuple[Object, EndpointRoute]] = {}  # by the object's id, which it keeps from reuse
        self._slices: dict[int, tuple[Object, _SliceReplicas]] = {}

    def build(
        self, *, endpoints: Iterable[Object], slices: Iterable[Object], allowed_hosts: AllowedHosts | None = None
    ) -> RoutingTable:
        """The same as `build_table`; an endpoint that is as it was is the same value as in the table before."""
        if (allowed_hosts or {}) != self._hosts:
            self._routes, self._hosts = {}, allowed_hosts or {}
        replicas = _merge(self._read_slices(slices))
        before, self._routes = self._routes, {}
        taken: dict[str, str] = {}
        hosts: dict[str, str] = {}
        routes = []
        for item in sorted(endpoints, key=_age):
            known = before.get(id(item))
            if known is not None and _has_replicas(known[1], replicas=replicas):
                route = known[1]
            else:
                route = read_endpoint(item, replicas=replicas, allowed_hosts=self._hosts)
            self._routes[id(item)] = item, route
            winner = taken.setdefault(route.name, route.key)
            settled = winner == route.key
            routes.append(_settle_hosts(route, taken=hosts) if settled else _refuse_name(route, winner=winner))
        return RoutingTable(endpoints=tuple(sorted(routes, key=lambda r: r.key)))

    def _read_slices(self, slices: Iterable[Object]) -> list[_SliceReplicas]:
        before, self._slices = self._slices, {}
        for item in slices:
            self._slices[id(item)] = before.get(id(item)) or (item, _read_slice(item))
        return [replicas for _, replicas in self._slices.values()]


def ready_replicas(slices: Iterable[Object]) -> dict[ServiceKey, tuple[Replica, ...]]:
    """Ready replicas per (namespace, Service), sorted by name, each pod once."""
    return _merge(map(_read_slice, slices))


def _merge(slices: Iterable[_SliceReplicas]) -> dict[ServiceKey, tuple[Replica, ...]]:
    found: dict[ServiceKey, dict[str, Replica]] = {}
    for part in slices:
        for service, replicas in part.items():
            pods = found.setdefault(service, {})
            for replica in replicas:
                pods.setdefault(replica.name, replica)
    return {key: tuple(pods[name] for name in sorted(pods)) for key, pods in found.items()}


def _has_replicas(route: EndpointRoute, *, replicas: Mapping[ServiceKey, tuple[Replica, ...]]) -> bool:
    return all(d.replicas == replicas.get((route.namespace, d.service), ()) for d in route.deployments)


def _read_slice(item: Object) -> _SliceReplicas:
    """The ready replicas of one EndpointSlice, under its Service; nothing where it has none that can be used."""
    metadata = item.get("metadata") or {}
    service = (metadata.get("labels") or {}).get(SERVICE_LABEL)
    port = _port(item)
    if not service or port is None:
        return {}
    replicas = [_replica(endpoint, port=port) for endpoint in item.get("endpoints") or ()]
    return {(metadata.get("namespace", ""), service): tuple(r for r in replicas if r is not None)}


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
