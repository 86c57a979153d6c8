"""pods/proxy and services/proxy: a request passed on to a pod, bodies streamed both ways.

    /api/v1/namespaces/NS/pods/[SCHEME:]NAME[:PORT]/proxy/PATH?QUERY
    /api/v1/namespaces/NS/services/[SCHEME:]NAME[:PORT]/proxy/PATH?QUERY     (port by number or name)

The caller's Authorization is for the API server and goes no further, as on a real one. Path and query
are passed on byte for byte. A Service is reached through its ready EndpointSlices, in random order
until one accepts a connection. Connections are not kept: a pod that restarts leaves nothing stale.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from clusters.embedded.errors import ApiError, BadRequest, NotImplementedHere, ServiceUnavailable
from clusters.embedded.registry import Registry
from clusters.embedded.resources import ENDPOINT_SLICES, PODS, SERVICES
from clusters.embedded.selectors import from_labels
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import Asked

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_PASSED: Final = _HOP_BY_HOP | {"authorization", "host", "expect"}
_SERVICE_NAME: Final = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Target:
    scheme: str
    addresses: tuple[tuple[str, int], ...]  # tried in this order


async def forward(request: web.Request, asked: Asked) -> web.StreamResponse:
    context = request.app[CONTEXT]
    if "upgrade" in request.headers.get("Connection", "").lower():
        raise NotImplementedHere("the embedded cluster's proxy does not pass on protocol upgrades")
    find = pod_target if asked.resource == PODS else service_target
    target = find(context.registry, asked.namespace or "", str(asked.name))
    if context.session is None:
        raise ServiceUnavailable("the API server is not ready")
    upstream = await _connect(request, asked, target, context.session)
    return await _pass_back(request, upstream)


async def _connect(
    request: web.Request, asked: Asked, target: Target, session: aiohttp.ClientSession
) -> aiohttp.ClientResponse:
    headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in _NOT_PASSED)
    refused: Exception | None = None
    for host, port in target.addresses:
        query = request.rel_url.raw_query_string
        text = f"{target.scheme}://{host}:{port}{asked.rest}" + (f"?{query}" if query else "")
        try:
            return await session.request(
                request.method,
                yarl.URL(text, encoded=True),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except aiohttp.ClientConnectorError as error:
            refused = error  # nothing was sent: the next address may take it
        except aiohttp.ClientError as error:
            raise ServiceUnavailable(f"error trying to reach the pod: {error}") from error
    raise ServiceUnavailable(f"error trying to reach the pod: {refused}") from refused


async def _pass_back(request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    try:
        headers = CIMultiDict((k, v) for k, v in upstream.headers.items() if k.lower() not in _HOP_BY_HOP)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response
    except aiohttp.ClientError:
        # The pod broke off in the middle of its answer: so must we, or the caller takes it for whole.
        if request.transport is not None:
            request.transport.abort()
        raise
    finally:
        upstream.close()


def split(text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of `[scheme:]name[:port]`."""
    parts = text.split(":")
    if len(parts) == 1:
        return "http", text, ""
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0] or "http", parts[1], parts[2]
    raise BadRequest(f"invalid proxy target {text!r}: expected [scheme:]name[:port]")


def pod_target(registry: Registry, namespace: str, text: str) -> Target:
    scheme, name, port = split(text)
    pod = registry.get(PODS, namespace, name)
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise ServiceUnavailable(f'pod "{name}" has no address yet')
    ports = [p for c in pod["spec"].get("containers", ()) for p in c.get("ports", ())]
    if port and not port.isdigit():
        raise BadRequest(f'pods "{name}": the port of a pod is a number, not {port!r}')
    chosen = int(port) if port else (ports[0]["containerPort"] if ports else 80)
    return Target(scheme, ((address, chosen),))


def service_target(registry: Registry, namespace: str, text: str) -> Target:
    scheme, name, port = split(text)
    service = registry.get(SERVICES, namespace, name)
    wanted = _service_port(service, port)
    slices = registry.list(ENDPOINT_SLICES, namespace, selector=from_labels({_SERVICE_NAME: name}))
    addresses = _ready(slices, wanted.get("name", ""))
    if not addresses:  # named as it was asked for only where there are pods, but none of them for this port
        asked = text if any(piece.get("endpoints") for piece in slices) else name
        raise ServiceUnavailable(f'no endpoints available for service "{asked}"')
    return Target(scheme, tuple(random.sample(addresses, len(addresses))))


def _service_port(service: dict[str, Any], port: str) -> dict[str, Any]:
    ports: list[dict[str, Any]] = service["spec"].get("ports") or []
    for candidate in ports:
        if port in ("", candidate.get("name", ""), str(candidate["port"])):
            return candidate
    raise ApiError(
        f'no service port "{port}" found for service "{service["metadata"]["name"]}"',
        code=503,
        reason="ServiceUnavailable",
    )


def _ready(slices: Iterable[dict[str, Any]], port_name: str) -> list[tuple[str, int]]:
    found = []
    for piece in slices:
        numbers = [p["port"] for p in piece.get("ports") or () if (p.get("name") or "") == port_name]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True) is not False and numbers:
                found += [(address, numbers[0]) for address in endpoint["addresses"]]
    return found
