"""What a request asks for: its path, read once into `Asked`, and simple values of its query.

/api/v1/namespaces/team/pods/web-0/log      group "", version v1, namespace team, plural pods,
/apis/apps/v1/deployments                   name web-0, subresource log, rest = what follows it
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from clusters.embedded.errors import ApiError, BadRequest, NotFound
from clusters.embedded.rbac import User
from clusters.embedded.resources import BINDINGS, Catalog, Resource

USER: Final = web.RequestKey("user", User)
WARNINGS: Final = web.RequestKey("warnings", list[str])

BODY_LIMIT: Final = 3 * 1024 * 1024  # what a real API server takes
_NAMESPACE_PARTS: Final = frozenset({"status", "finalize"})


@dataclass(frozen=True)
class Place:
    """A path below /api or /apis taken apart, whether or not there is anything at it."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    rest: tuple[str, ...] = ()  # steps of a proxied path; still percent-encoded


@dataclass(frozen=True)
class Asked:
    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    rest: str = ""  # of a proxied path, with its leading slash; still percent-encoded


ASKED: Final = web.RequestKey("asked", Asked)

SCALES: Final = Resource("autoscaling", "v1", "scales", "Scale")
_BODIES: Final = {
    "binding": BINDINGS,
    "eviction": Resource("policy", "v1", "evictions", "Eviction"),
    "scale": SCALES,
    "token": Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest"),
}


def body_kind(asked: Asked) -> Resource:
    """What the body of such a request is: an object of the kind, or what its subresource takes instead."""
    return _BODIES.get(asked.subresource, asked.resource)


def read_path(path: str) -> Place:
    """`path` is percent-encoded. Raises NotFound when it names no resource."""
    parts = path.lstrip("/").split("/")
    group, at = ("", 1) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", 2)
    if len(parts) < at + 2:
        raise unknown_path()
    version, steps = parts[at], parts[at + 1 :]
    namespace: str | None = None
    if steps[0] == "namespaces" and len(steps) > 2 and steps[2] and steps[2] not in _NAMESPACE_PARTS:
        namespace, steps = steps[1], steps[2:]
    name = unquote(steps[1]) if len(steps) > 1 and steps[1] else None
    subresource = steps[2] if len(steps) > 2 else ""
    return Place(group, version, steps[0], namespace, name, subresource, tuple(steps[3:]))


def find_asked(place: Place, *, catalog: Catalog) -> Asked:
    """Raises NotFound for what is not served, as a real API server does."""
    resource = catalog.find(place.group, version=place.version, plural=place.plural)
    if resource is None or (place.namespace is not None and not resource.namespaced):
        raise unknown_path()
    if place.subresource and place.subresource not in resource.subresources:
        raise unknown_path()
    rest = ""
    if place.subresource == "proxy":
        rest = "/" + "/".join(place.rest)
    elif any(place.rest):
        raise unknown_path()
    return Asked(resource, place.namespace, place.name, place.subresource, rest)


def unknown_path() -> ApiError:
    return NotFound("the server could not find the requested resource")


def number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise BadRequest(f"{name}: {text!r} is not a number") from error


def flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in {"true", "1"}
