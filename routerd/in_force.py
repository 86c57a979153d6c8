"""What HAProxy serves now, by endpoint, and who waits to hear of a change."""

import asyncio
from collections.abc import Mapping, Set

from routerd.conditions import host_conditions, ready_condition
from routerd.control import InForce
from routerd.routes import EndpointRoute, RoutingTable
from routerd.slots import SlotOwner


class InForceBoard:
    """`states` by `namespace/name`; `settled` once the first table has been brought into force."""

    def __init__(self) -> None:
        self.states: dict[str, InForce] = {}
        self.settled = False
        self._known: dict[str, tuple[EndpointRoute, dict[str, int], InForce]] = {}  # what was last said, and of what
        self._version = 1
        self._changed = asyncio.Condition()

    async def wait_change(self, *, seen: int) -> int:
        """Wait until the states are newer than version `seen`; the version."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version > seen)
            return self._version

    async def publish(self, table: RoutingTable, *, replicas: Mapping[SlotOwner, int], pending: Set[str]) -> None:
        """Renew every endpoint that nothing is left to do for; `replicas` in rotation by deployment."""
        found = {}
        for endpoint in table.endpoints:
            if not endpoint.routed or endpoint.name not in pending:
                found[endpoint.key] = self._state_of(endpoint, replicas=replicas)
            elif endpoint.key in self.states:
                found[endpoint.key] = self.states[endpoint.key]
        if found == self.states and self.settled:
            return
        self._known = {key: known for key, known in self._known.items() if key in found}
        self.states, self.settled = found, True
        async with self._changed:
            self._version += 1
            self._changed.notify_all()

    def _state_of(self, endpoint: EndpointRoute, *, replicas: Mapping[SlotOwner, int]) -> InForce:
        """What to say of an endpoint; of one that is as it was, the same as before."""
        names = tuple(d.name for d in endpoint.deployments) if endpoint.routed else ()
        serving = {name: replicas.get((endpoint.namespace, endpoint.name, name), 0) for name in names}
        then, then_serving, state = self._known.get(endpoint.key, (None, None, None))
        if state is None or then is not endpoint or then_serving != serving:
            state = InForce(
                generation=endpoint.generation,
                key_revision=endpoint.key_revision,
                conditions=(ready_condition(endpoint, serving=serving), *host_conditions(endpoint)),
                deployments=names,
            )
            self._known[endpoint.key] = endpoint, serving, state
        return state
