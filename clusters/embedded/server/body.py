"""The body of a request: JSON, YAML or Kubernetes' protobuf. A key that is there twice is told or refused."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from aiohttp import web

from clusters.embedded import patch
from clusters.embedded.errors import BadRequest, UnsupportedMediaType
from clusters.embedded.resources import Obj
from clusters.embedded.schemas.decoding import decode
from clusters.embedded.server import protobuf
from clusters.embedded.server.options import tell_strict, tell_strict_yaml, unknown_fields
from clusters.embedded.server.request import ASKED, body_kind


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


async def read_checked(request: web.Request) -> Obj:
    """An object that is answered and not stored, without the fields nobody knows. Raises as `read_object` does."""
    obj = await read_object(request)
    if paths := decode(body_kind(request[ASKED]), obj):
        unknown_fields(request)(paths)
    return obj


async def read_any(request: web.Request) -> Any:
    """JSON or YAML of any form. Raises BadRequest, Invalid."""
    body = await request.read()
    in_yaml = request.content_type.endswith("yaml")
    try:
        if in_yaml and not body.lstrip().startswith(b"{"):  # most YAML is JSON
            found, twice = parse_yaml(body)
        else:
            found, twice = parse_json(body)
            if twice and in_yaml:  # told by their lines then
                found, twice = parse_yaml(body)
    except (ValueError, yaml.YAMLError) as error:
        raise BadRequest(f"the object provided is unrecognized: {error}") from error
    if twice and in_yaml:
        tell_strict_yaml(request, twice)
    elif twice:
        start = "json patch " if request.content_type == patch.JSON else ""
        tell_strict(request, [f'{start}duplicate field "{path}"' for path in twice])
    return found


def parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    """The value, the last of equal keys winning, and where keys are there more than once (pure)."""
    loader = _Loader(body)
    try:
        return loader.get_single_data(), loader.twice
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """Notes the keys of a mapping that it has already."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                self.twice.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
            keys.add(key.value)
        return super().construct_mapping(node, deep)


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
