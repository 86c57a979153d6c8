"""What the studio and routerd agree on: names, labels, ports, custom resources and the admin API.

The only module of routerd that others may import. It holds names and pure functions, no I/O.

Who writes what:

    OnlineEndpoint.spec      the studio (field manager ``slipway``)
    OnlineEndpoint.status    routerd's leader
    Deployment scale         routerd (field manager ``routerd``), once the workload exists
    InstanceType             the operator, through the studio or with kubectl
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any, Final

GROUP: Final = "slipway.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# --- Kubernetes names -------------------------------------------------------------------------
SYSTEM_NAMESPACE: Final = "slipway-system"
BUILDS_NAMESPACE: Final = "slipway-builds"  # on the embedded cluster: pods that write to the node's image store
ROUTER: Final = "routerd"  # workload, ServiceAccount, PodDisruptionBudget and headless admin Service
ROUTER_SERVICE: Final = "slipway-router"  # what callers reach
PRIVATE_SERVICE: Final = "slipway-router-private"  # what callers inside the cluster reach
ARTIFACTS: Final = "slipway-artifacts"  # workload, Service and Secret of the artifact cache
TLS_SECRET: Final = "slipway-tls"  # type kubernetes.io/tls: what callers are shown
ADMIN_SECRET: Final = "slipway-admin"  # key "token": what the admin API asks for
# Key "namespaces": one compute-target namespace a line. Key "hosts": `NAMESPACE HOST` a line, HOST may be *.domain.
TARGETS_CONFIGMAP: Final = "slipway-targets"
LEADER_LEASE: Final = "routerd-leader"

FIELD_MANAGER: Final = "slipway"
ROUTER_FIELD_MANAGER: Final = "routerd"

# --- Labels and annotations -------------------------------------------------------------------
MANAGED_BY: Final = "app.kubernetes.io/managed-by"  # always "slipway"
MANAGED_BY_SLIPWAY: Final = "slipway"
APP_NAME: Final = "app.kubernetes.io/name"  # "routerd", "slipway-artifacts", "online-deployment"
STUDIO: Final = "slipway.dev/studio"  # UUID of the studio that made the object
ENDPOINT: Final = "slipway.dev/endpoint"
DEPLOYMENT: Final = "slipway.dev/deployment"
REVISION: Final = "slipway.dev/revision"  # pod template label: which revision of our Deployment
RUNTIME: Final = "slipway.dev/runtime"  # node label; "process" on the embedded cluster
RUNTIME_PROCESS: Final = "process"

# --- Containers of a model pod ----------------------------------------------------------------
SERVER_CONTAINER: Final = "server"
FETCH_CONTAINER: Final = "storage"
SCORING_PORT: Final = 5001

# --- Ports of a router pod (on POD_IP) --------------------------------------------------------
INFERENCE_PORT: Final = 8080
PRIVATE_PORT: Final = 8081  # the same for callers of the private Service
TLS_PORT: Final = 8443  # the same with TLS, where there is a certificate
ADMIN_PORT: Final = 9902
ARTIFACTS_PORT: Final = 9910
PEER_PORT: Final = 9903  # routers pass requests on to each other; mutual TLS

# --- Headers ----------------------------------------------------------------------------------
ADMIN_TOKEN_HEADER: Final = "x-slipway-token"
PIN_HEADER: Final = "azureml-model-deployment"
REASON_HEADER: Final = "x-slipway-reason"
MODEL_STATUS_HEADER: Final = "ms-azureml-model-error-statuscode"
COLD_START_HEADER: Final = "x-slipway-cold-start"  # milliseconds a request waited because no replica was ready
PRIORITY_HEADER: Final = "x-slipway-priority"  # high, normal or low, where the endpoint allows it
PATH_START: Final = "/api/v1/"
ENDPOINT_PATH: Final = f"{PATH_START}endpoint/"
SERVICE_PATH: Final = f"{PATH_START}service/"
SCORING_PATH: Final = "/score"  # of the model

# --- Admin API (JSON; every path but the two probes asks for ADMIN_TOKEN_HEADER) ----------------
ADMIN_HEALTHZ: Final = "/healthz"
ADMIN_READYZ: Final = "/readyz"
ADMIN_METRICS: Final = "/metrics"
ADMIN_SAMPLES: Final = "/v1/samples"  # ?after=SEQ  -> {"router", "next", "samples": [Sample]}
ADMIN_DECISIONS: Final = "/v1/decisions"  # ?after=SEQ -> {"router", "next", "decisions": [Decision]}
ADMIN_REPORT: Final = "/v1/report"  # what the leader asks of its peers, see routerd.admin.report
ADMIN_TABLE: Final = "/v1/table"  # -> {"router", "endpoints": {"namespace/name": {...}}}
ADMIN_INVOKE: Final = "/v1/invoke"  # POST, see routerd.admin

# --- Artifact cache (routerd.artifacts; HTTP on ARTIFACTS_PORT) ----------------------------------
ARTIFACTS_BLOBS: Final = "/v1/blobs/"  # + SHA-256; HEAD, PUT ?offset=&total=, GET, DELETE
ARTIFACTS_TOKEN_HEADER: Final = "x-slipway-token"  # upload token or download token
ARTIFACTS_RECEIVED_HEADER: Final = "x-slipway-received"  # on 404 and 409: bytes the cache has so far
ARTIFACTS_CHUNK_BYTES: Final = 4 * 1024 * 1024  # the most one PUT should carry through an API server's proxy

# --- Images on the embedded cluster -------------------------------------------------------------
# The embedded cluster's image store maps these references to directories (clusters/embedded/images.py).
EMBEDDED_SLIPWAY_IMAGE: Final = "slipway.local/slipway:embedded"
EMBEDDED_BUILDER_IMAGE: Final = "slipway.local/builder:embedded"  # may reach a package index, as the others need not
EMBEDDED_ENVIRONMENT_REPOSITORY: Final = "slipway.local/environment"

_LABEL_LIMIT: Final = 63


def workload_name(*, endpoint: str, deployment: str) -> str:
    """Name of the workload, Service, NetworkPolicy, ... of one deployment; at most 63 characters.

    Endpoint and deployment names hold single dashes only, so two dashes between them are unambiguous.
    """
    name = f"{endpoint}--{deployment}"
    if len(name) <= _LABEL_LIMIT:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LABEL_LIMIT - 9]}-{digest}"


def key_hash(key: str) -> str:
    """SHA-256 of an endpoint key as lower-case hex: the only form of a key that enters a cluster."""
    return hashlib.sha256(key.encode()).hexdigest()


def sign_download_token(*, digests: Iterable[str], signing_key: str) -> str:
    """A token that lets its bearer download these blobs (SHA-256, hex) from the artifact cache, and nothing else.

    Stateless, `base64url({"digests": [...]}).hex(HMAC-SHA256)`, and the same for the same digests, so that a
    Secret holding it does not change at every apply. It is valid until the signing key changes.
    """
    claims = json.dumps({"digests": sorted(set(digests))}, separators=(",", ":"))
    payload = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    return f"{payload}.{hmac.new(signing_key.encode(), payload.encode(), hashlib.sha256).hexdigest()}"


def _crd(*, plural: str, kind: str, scope: str, spec: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "required": ["spec"], "properties": {"spec": spec}}
    if "status" in extra.get("subresources", {}):
        schema["properties"]["status"] = _open_object()
    version = {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {MANAGED_BY: MANAGED_BY_SLIPWAY}},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "plural": plural,
                "singular": kind.lower(),
                "kind": kind,
                "listKind": f"{kind}List",
            },
            "versions": [version | extra],
        },
    }


def _open_object() -> dict[str, Any]:
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _map_of(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def _integer(*, minimum: int, maximum: int | None = None) -> dict[str, Any]:
    bounds = {"minimum": minimum} | ({} if maximum is None else {"maximum": maximum})
    return {"type": "integer", **bounds}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "object", "properties": properties}
    return shape | ({"required": list(required)} if required else {})


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _list_by(key: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
    }


_STRING: Final[dict[str, Any]] = {"type": "string"}
_QUANTITY: Final[dict[str, Any]] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}

# An API server insists that what a list is keyed by is required.
_KEY = _object(
    {
        "name": _STRING,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "expires": _STRING,  # RFC 3339 with a time zone; from then on the routers refuse it, without anybody's help
    },
    required=("name",),
)
_TOKEN_KEY = _object(
    {
        "kid": _STRING,
        "algorithm": {"type": "string", "enum": ["ES256", "RS256"]},
        "publicKey": _STRING,  # PEM, "BEGIN PUBLIC KEY"
    },
    required=("kid", "algorithm", "publicKey"),
)
_ISSUER = _object(
    {
        "issuer": _STRING,  # what the claim iss must say
        "audience": _STRING,  # what the claim aud must say or hold; the endpoint's name when absent
        "keys": _list_by("kid", _TOKEN_KEY),  # also the next one, before anything is signed with it
    },
    required=("issuer", "keys"),
)
_SCALE = _object(
    {
        # "auto": routerd owns the replica count between min and max. "fixed": it never touches it.
        "mode": {"type": "string", "enum": ["auto", "fixed"]},
        "min": _integer(minimum=0),
        "max": _integer(minimum=1),
        "targetUtilization": _integer(minimum=1, maximum=100),  # percent of all slots busy
        "scaleDownDelaySeconds": _integer(minimum=1),
    },
    required=("mode", "min", "max"),
)
_DEPLOYMENT = _object(
    {
        "name": _STRING,
        "service": _STRING,  # its EndpointSlices are the replicas; same namespace
        "workload": _STRING,  # apps/v1 Deployment to scale; same namespace
        "maxConcurrentRequestsPerInstance": _integer(minimum=1),
        "maxQueue": _integer(minimum=0),  # requests waiting in the router, over all replicas
        "maxQueueWaitMs": _integer(minimum=0),
        "requestTimeoutMs": _integer(minimum=1, maximum=300_000),  # to the first byte, and between two of them
        "totalTimeoutMs": _integer(minimum=0),  # until a stream that answers is ended; 0: never
        "scale": _SCALE,
    },
    required=(
        "name",
        "service",
        "workload",
        "maxConcurrentRequestsPerInstance",
        "maxQueue",
        "maxQueueWaitMs",
        "requestTimeoutMs",
        "scale",
    ),
)
_PERCENT = _integer(minimum=0, maximum=100)
_CORS = _object(
    {
        "allowedOrigins": _list_of(_STRING),  # https://app.example.com, or * for all
        "maxAgeSeconds": _integer(minimum=0),  # how long a browser may remember the answer
    },
    required=("allowedOrigins",),
)
# Requests with the same value go to the same deployment while the weights stay as they are. One of the two.
_STICKY = _object({"header": _STRING, "cookie": _STRING})


def online_endpoint_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of OnlineEndpoint: one endpoint as the routers see it."""
    spec = _object(
        {
            "auth": _object(
                {
                    "mode": {"type": "string", "enum": ["key", "token", "none"]},
                    "keyRevision": _integer(minimum=0),  # grows by one at every change of keys or issuers
                    "keys": _list_by("name", _KEY),
                    "issuers": _list_by("issuer", _ISSUER),
                },
                required=("mode",),
            ),
            "hosts": _list_of(_STRING),  # host names of its own, of those the operator allowed its namespace
            "cors": _CORS,
            "sticky": _STICKY,
            "priorities": {"type": "boolean"},  # callers may say x-slipway-priority
            "traffic": _map_of(_PERCENT),  # deployment -> percent; 0 or 100 in total
            # Through which of the routers' Services it is reached; both where this is absent.
            "access": {"type": "array", "items": {"type": "string", "enum": ["public", "private"]}},
            "mirror": _map_of(_integer(minimum=0, maximum=50)),
            "deployments": _list_by("name", _DEPLOYMENT),
        },
        required=("auth",),
    )
    columns = [
        {
            "name": "Ready",
            "type": "string",
            "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
        },
        {
            "name": "Reason",
            "type": "string",
            "jsonPath": '.status.conditions[?(@.type=="Ready")].reason',
        },
        {"name": "Address", "type": "string", "jsonPath": ".status.address"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    extra = {"subresources": {"status": {}}, "additionalPrinterColumns": columns}
    return _crd(plural="onlineendpoints", kind="OnlineEndpoint", scope="Namespaced", spec=spec, extra=extra)


def instance_type_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of InstanceType: the shape Azure ML uses, under our own group."""
    resources = _object({"requests": _map_of(_QUANTITY), "limits": _map_of(_QUANTITY)})
    spec = _object(
        {
            "nodeSelector": _map_of(_STRING),
            "tolerations": {"type": "array", "items": _open_object()},
            "resources": resources,
        }
    )
    columns = [
        {"name": "CPU", "type": "string", "jsonPath": ".spec.resources.limits.cpu"},
        {"name": "Memory", "type": "string", "jsonPath": ".spec.resources.limits.memory"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    extra = {"additionalPrinterColumns": columns}
    return _crd(plural="instancetypes", kind="InstanceType", scope="Cluster", spec=spec, extra=extra)
