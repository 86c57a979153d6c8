"""The body of a request: JSON, YAML or Kubernetes' protobuf. A key that is there twice is told or refused."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from aiohttp import web

from clusters.embedded.errors import BadRequest, UnsupportedMediaType
from clusters.embedded.resources import Obj
from clusters.embedded.server import protobuf
from clusters.embedded.server.options import tell_strict


async def read_object(request: web.Request) -> Obj:
    """Raises BadRequest, Invalid, UnsupportedMediaType."""
    if request.content_type == protobuf.MEDIA_TYPE:
        return protobuf.decode_object(await request.read())
    if request.content_type.endswith("cbor"):
        raise UnsupportedMediaType("the body of the request was in an unknown format - CBOR is not accepted")
    found = await read_any(request)
    if not isinstance(found, dict):
        raise BadRequest("the body of the request is not an object")
    return found


async def read_any(request: web.Request) -> Any:
    """JSON or YAML of any form. Raises BadRequest, Invalid."""
    body = await request.read()
    try:
        if request.content_type.endswith("yaml") and not body.lstrip().startswith(b"{"):  # most YAML is JSON
            return yaml.safe_load(body)
        found, twice = parse_json(body)
    except (ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"the object provided is unrecognized: {error}") from error
    if twice:
        tell_strict(request, [f'duplicate field "{path}"' for path in twice])
    return found


def parse_json(body: bytes) -> tuple[Any, list[str]]:
    """The value, the last of equal keys winning, and the paths of keys that are there more than once (pure)."""
    repeated: dict[int, tuple[Obj, list[str]]] = {}  # by identity; holding the object keeps that its own

    def build(pairs: list[tuple[str, Any]]) -> Obj:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            repeated[id(made)] = made, [name for name in made if names.count(name) > 1]
        return made

    value = json.loads(body, object_pairs_hook=build)
    return value, list(_repeated_in(value, "", repeated)) if repeated else []


def _repeated_in(value: Any, path: str, repeated: dict[int, tuple[Obj, list[str]]]) -> Iterator[str]:
    if isinstance(value, dict):
        start = f"{path}." if path else ""
        yield from (f"{start}{name}" for name in repeated.get(id(value), (value, []))[1])
        for name, inner in value.items():
            yield from _repeated_in(inner, f"{start}{name}", repeated)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _repeated_in(inner, f"{path}[{index}]", repeated)
