"""The TCP relay: what kube-proxy and a cloud's load balancer are elsewhere.

    client --> listener on ClusterIP:port | 127.0.0.1:nodePort | 127.0.0.1:port (LoadBalancer)
                  | round robin over the Service's ready endpoints, the next one when a connect is refused
                  v
               pod address : target port                    (the bytes: listener.py)

Level-triggered like a controller: a key is a Service, `reconcile` makes the listeners be what they should be. A port
that is taken becomes a Warning event on the Service and is tried again.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from clusters.embedded.controllers.endpoint_slices import SERVICE_NAME
from clusters.embedded.listener import Address, Listener
from clusters.embedded.registry import Registry
from clusters.embedded.resources import ENDPOINT_SLICES, SERVICES, Obj, Resource

log = logging.getLogger(__name__)

Key = tuple[str, str]
OUTSIDE: Final = "127.0.0.1"  # where node ports and load balancers listen
_RETRY_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Wanted:
    """A listener a Service should have, and whom it leads to."""

    address: Address
    endpoints: tuple[Address, ...]
    what: str


class Relay:
    """All listeners of a cluster; run by controllers/loop.py."""

    name = "relay"
    watched: tuple[Resource, ...] = (SERVICES, ENDPOINT_SLICES)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._listeners: dict[Key, dict[Address, Listener]] = {}
        self._refused: set[Address] = set()  # what could not be listened on, and was told

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Key]:
        del deleted
        metadata = obj["metadata"]
        if resource == SERVICES:
            return [(metadata["namespace"], metadata["name"])]
        name = (metadata.get("labels") or {}).get(SERVICE_NAME)
        return [(metadata["namespace"], name)] if name else []

    def reconcile(self, key: Key) -> float | None:
        service = self._registry.find(SERVICES, *key)
        if service is None:
            self._close(self._listeners.pop(key, {}))
            return None
        slices = [
            s
            for s in self._registry.list(ENDPOINT_SLICES, key[0])
            if (s["metadata"].get("labels") or {}).get(SERVICE_NAME) == key[1]
        ]
        wanted = wanted_listeners(service, slices=slices)
        held = self._listeners.setdefault(key, {})
        kept = {w.address for w in wanted}
        self._close({address: held.pop(address) for address in held.keys() - kept})
        failed = [w for w in wanted if not self._hold(held, w, service=service)]
        if service["spec"].get("type") == "LoadBalancer":
            self._write_ingress(service, ready=not failed)
        if not held:
            del self._listeners[key]
        return _RETRY_SECONDS if failed else None

    def _hold(self, held: dict[Address, Listener], wanted: Wanted, *, service: Obj) -> bool:
        try:
            listener = held.get(wanted.address) or Listener(wanted.address)
        except OSError as error:
            if wanted.address not in self._refused:  # else it was said already
                self._refused.add(wanted.address)
                self._tell_refused(wanted, service=service, error=error)
            return False
        held[wanted.address] = listener
        self._refused.discard(wanted.address)
        listener.route.set(wanted.endpoints)
        return True

    def _tell_refused(self, wanted: Wanted, *, service: Obj, error: OSError) -> None:
        host, port = wanted.address
        message = f"can't listen on {wanted.what} ({host}:{port}/tcp), trying again: {error.strerror or error}"
        log.warning("Service %s: %s", service["metadata"]["name"], message)
        self._registry.record_event(
            service, type="Warning", reason="FailedToListen", message=message, component="kube-proxy"
        )

    def _write_ingress(self, service: Obj, *, ready: bool) -> None:
        status = dict(service.get("status") or {})
        balancer: Obj = {"ingress": [{"ip": OUTSIDE, "ipMode": "VIP"}]} if ready else {}
        if status.get("loadBalancer") != balancer:
            self._registry.update_status(SERVICES, {**service, "status": {**status, "loadBalancer": balancer}})

    def close(self) -> None:
        while self._listeners:
            self._close(self._listeners.popitem()[1])

    def _close(self, listeners: dict[Address, Listener]) -> None:
        for listener in listeners.values():
            listener.close()


def wanted_listeners(service: Obj, *, slices: Sequence[Obj]) -> list[Wanted]:
    """Every address a Service is served on (pure)."""
    spec = service["spec"]
    cluster_ip, kind = spec.get("clusterIP"), spec.get("type", "ClusterIP")
    if not cluster_ip or cluster_ip == "None" or kind == "ExternalName":
        return []
    wanted = []
    for port in spec.get("ports") or ():
        if port.get("protocol", "TCP") != "TCP":
            continue
        name = port.get("name") or ""
        endpoints = _endpoints_of(name, slices=slices)
        wanted.append(Wanted((cluster_ip, port["port"]), endpoints, f"ClusterIP port {name or port['port']}"))
        if kind in {"NodePort", "LoadBalancer"} and port.get("nodePort"):
            wanted.append(Wanted((OUTSIDE, port["nodePort"]), endpoints, f"node port {port['nodePort']}"))
        if kind == "LoadBalancer":
            wanted.append(Wanted((OUTSIDE, port["port"]), endpoints, f"load balancer port {port['port']}"))
    return wanted


def _endpoints_of(port_name: str, *, slices: Sequence[Obj]) -> tuple[Address, ...]:
    """Ready endpoints; when there are none, those that end but still serve, as kube-proxy does it."""
    ready: list[Address] = []
    ending: list[Address] = []
    for each in slices:
        numbers = [p["port"] for p in each.get("ports") or () if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            pairs = [(address, number) for address in endpoint["addresses"] for number in numbers]
            if conditions.get("ready", True):
                ready += pairs
            elif conditions.get("serving") and conditions.get("terminating"):
                ending += pairs
    return tuple(ready or ending)
