"""What a request asks for: path, query, body and headers, read once into `Asked`.

/api/v1/namespaces/team/pods/web-0/log      group "", version v1, namespace team, plural pods,
/apis/apps/v1/deployments                   name web-0, subresource log, rest = what follows it
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import yaml
from aiohttp import web

from clusters.embedded.errors import ApiError, BadRequest, NotFound, UnsupportedMediaType
from clusters.embedded.rbac import User
from clusters.embedded.resources import Catalog, Obj, Resource
from clusters.embedded.server import protobuf

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


async def read_object(request: web.Request) -> Obj:
    """The body as an object, from JSON, YAML or Kubernetes' protobuf."""
    body = await request.read()
    return decode(body, content_type=request.content_type)


def decode(body: bytes, *, content_type: str) -> Obj:
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.decode_object(body)
    if content_type.endswith("cbor"):
        raise UnsupportedMediaType("the body of the request was in an unknown format - CBOR is not accepted")
    found = decode_any(body, content_type=content_type)
    if not isinstance(found, dict):
        raise BadRequest("the body of the request is not an object")
    return found


def decode_any(body: bytes, *, content_type: str) -> Any:
    try:
        if content_type.endswith("yaml"):
            return yaml.safe_load(body)
        return json.loads(body)
    except (ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"the object provided is unrecognized: {error}") from error


def field_manager(request: web.Request) -> str:
    """Who owns the fields this request writes: named, or the first word of the User-Agent."""
    named = request.query.get("fieldManager")
    if named:
        return named
    return request.headers.get("User-Agent", "unknown").split("/")[0][:128] or "unknown"


def dry_run(request: web.Request) -> bool:
    values = request.query.getall("dryRun", [])
    if any(value != "All" for value in values):
        raise BadRequest(f'invalid dryRun: supported values: "All", not {values[0]!r}')
    return bool(values)


def unknown_fields(request: web.Request) -> Callable[[list[str]], None]:
    """What to do with fields the schema does not know, by `fieldValidation` (default: warn)."""
    mode = request.query.get("fieldValidation", "Warn")

    def tell(paths: list[str]) -> None:
        words = [f'unknown field "{path}"' for path in paths]
        if mode == "Strict":
            raise BadRequest("strict decoding error: " + ", ".join(words))
        if mode == "Warn":
            request[WARNINGS].extend(words)

    return tell


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
