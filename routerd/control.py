"""What the parts that observe, scale and report may ask of the running router.

`daemon.Daemon` implements `Router`; load, scaler, status and admin take it as a parameter and start as

    async def run_load(router: Router) -> None
    async def run_scaler(router: Router) -> None
    async def run_status(router: Router) -> None
    async def run_admin(router: Router) -> None

Each runs until cancelled, or until nothing is left for it to do. An exception that leaves one of them ends the
control process (HAProxy goes on serving, the supervisor starts a new control process), so they catch what they
can act on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lightkube.core.async_client import AsyncClient

from routerd.haproxy.runtime import Runtime
from routerd.peers import Ring
from routerd.routes import RoutingTable
from routerd.settings import Settings
from routerd.slots import SlotTable


@dataclass(frozen=True)
class Condition:
    """One condition of an OnlineEndpoint, without its times."""

    type: str  # "Ready"
    status: bool
    reason: str  # Answering, NoReadyReplica, NameTaken, InvalidSpec, NoTraffic
    message: str


@dataclass(frozen=True)
class InForce:
    """What HAProxy serves for one endpoint at this moment, read back after the change was made."""

    generation: int
    key_revision: int
    conditions: tuple[Condition, ...] = ()
    deployments: tuple[str, ...] = ()  # names that HAProxy routes


@dataclass(frozen=True)
class CertificateState:
    """One certificate as HAProxy has it: until when it is valid, and what is wrong with what should replace it."""

    secret: str
    not_after: float | None = None  # unix seconds; None: HAProxy has a placeholder that no caller will trust
    problem: str | None = None


class Router(Protocol):
    """The running router, as its observers see it."""

    @property
    def settings(self) -> Settings: ...

    @property
    def runtime(self) -> Runtime: ...

    @property
    def kube(self) -> AsyncClient | None:
        """None when the router runs without an API server."""
        ...

    def table(self) -> RoutingTable | None:
        """The table wanted now; None before the first list of everything is complete."""
        ...

    def certificates(self) -> tuple[CertificateState, ...]:
        """What callers by TLS are shown, the default first; empty without TLS, or before the first look."""
        ...

    def lost_at(self) -> float | None:
        """Since when (unix seconds) the table is only as last known; None while the API server is heard."""
        ...

    def ring(self) -> Ring | None:
        """The routers that take requests now; None while they are not known, or this is the only one."""
        ...

    def slots(self) -> SlotTable:
        """Which HAProxy backend serves which deployment now."""
        ...

    def in_force(self) -> Mapping[str, InForce]:
        """`namespace/name` -> what HAProxy really has; an endpoint it does not serve is absent or not Ready."""
        ...

    def ready(self) -> bool:
        """HAProxy answers, the first table and certificates are in force; False while draining."""
        ...

    async def wait_change(self, *, seen: int) -> int:
        """Wait until the table or what is in force differs from version `seen` (0 at first); the new version."""
        ...

    def report_service_time(self, *, slot: str, seconds: float) -> None:
        """Tell callers that are refused (429) when to come back: the mean time one request takes on `slot`."""
        ...
