"""The routing table as frozen values: what the router should do. Made by `routing_table.build_table`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Object = Mapping[str, Any]

NAME_TAKEN: Final = "NameTaken"
INVALID_SPEC: Final = "InvalidSpec"
HOST_TAKEN: Final = "HostTaken"
HOST_NOT_ALLOWED: Final = "HostNotAllowed"
MAX_SPLIT: Final = 20  # deployments of one endpoint that can take traffic


@dataclass(frozen=True)
class Replica:
    """One ready model server: the pod's name and where it listens."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class ScaleSpec:
    """Between how many replicas routerd may move; `fixed` means that it never touches the count."""

    mode: Literal["auto", "fixed"]
    min: int
    max: int
    target_utilization: int = 70  # percent of all slots busy
    scale_down_delay_s: int = 60


@dataclass(frozen=True)
class DeploymentRoute:
    """One version of a model behind an endpoint, with its limits and its ready replicas."""

    name: str
    service: str
    workload: str
    concurrency: int  # requests one replica computes at once
    max_queue: int  # requests waiting in the router, over all replicas
    max_queue_wait_ms: int
    request_timeout_ms: int
    scale: ScaleSpec
    replicas: tuple[Replica, ...] = ()
    total_timeout_ms: int = 0  # until a stream that answers is ended; 0: never


@dataclass(frozen=True)
class Problem:
    """Why (a part of) an endpoint is not routed; becomes a condition of the OnlineEndpoint."""

    type: str  # "Ready" or "Hosts"
    reason: str
    message: str


@dataclass(frozen=True)
class TokenKey:
    """A public key that tokens of an issuer are signed with."""

    kid: str
    algorithm: Literal["ES256", "RS256"]
    pem: str


@dataclass(frozen=True)
class TokenIssuer:
    """Whose tokens an endpoint accepts: what the claims iss and aud must say, and with which keys."""

    issuer: str
    audience: str
    keys: tuple[TokenKey, ...]


@dataclass(frozen=True)
class Cors:
    """Which pages may call an endpoint from a browser: their origins, or `*`."""

    origins: tuple[str, ...]
    max_age_seconds: int = 600


@dataclass(frozen=True)
class Sticky:
    """What requests carry that shall go to the same deployment."""

    source: Literal["header", "cookie"]
    name: str


@dataclass(frozen=True)
class EndpointRoute:
    """One OnlineEndpoint as the router understands it."""

    namespace: str
    name: str
    uid: str
    generation: int
    auth_mode: Literal["key", "token", "none"]
    key_revision: int
    keys: tuple[tuple[str, str], ...] = ()  # (key's name, SHA-256 in lower-case hex)
    key_expiry: tuple[tuple[str, int], ...] = ()  # (key's name, unix seconds), of those that end
    issuers: tuple[TokenIssuer, ...] = ()
    hosts: tuple[str, ...] = ()  # host names that lead here, besides the path
    cors: Cors | None = None
    sticky: Sticky | None = None
    priorities: bool = False  # callers may name a priority class
    traffic: tuple[tuple[str, int], ...] = ()  # (deployment, percent), percent > 0
    mirror: tuple[tuple[str, int], ...] = ()
    deployments: tuple[DeploymentRoute, ...] = ()
    problems: tuple[Problem, ...] = ()
    access: Literal["both", "public", "private"] = "both"  # which listeners it answers on
    routed: bool = True  # False: HAProxy must not know this endpoint

    @property
    def key(self) -> str:
        """`namespace/name`, the endpoint's identity in status and samples."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class RoutingTable:
    """Everything the router should serve, in the order of the endpoints' keys."""

    endpoints: tuple[EndpointRoute, ...] = ()
    by_key: Mapping[str, EndpointRoute] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {e.key: e for e in self.endpoints})

    def routed(self) -> tuple[EndpointRoute, ...]:
        """The endpoints callers may reach; their names are unique."""
        return tuple(e for e in self.endpoints if e.routed)
