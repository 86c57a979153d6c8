"""Answers: objects, lists, tables and Statuses as a client asked to have them.

The Accept header may ask for a Table (kubectl's columns) or for metadata only; everything else gets
the object's stored bytes as they are.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from clusters.embedded.errors import ApiError, NotAcceptable
from clusters.embedded.journal import Stored, encode
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import WARNINGS
from clusters.embedded.tables import rows as table_rows

_META: Final = "meta.k8s.io/v1"
_LARGE: Final = 1 << 20  # bytes
_PIECE: Final = 1 << 16
_PARAMETER: Final = re.compile(r";\s*(as|v|g)=([^;,\s]+)")


@dataclass(frozen=True)
class Form:
    """How one client wants objects: "" whole, Table, or PartialObjectMetadata."""

    kind: str = ""
    include: str = "Metadata"  # what a table's rows carry: None, Metadata or Object


WHOLE: Final = Form()


def form(request: web.Request) -> Form:
    """What the Accept header asks for. Raises NotAcceptable when it is nothing we have."""
    header = request.headers.get("Accept", "*/*")
    for choice in header.split(","):
        media = choice.split(";")[0].strip()
        if media not in ("application/json", "*/*", "application/*", "application/yaml", ""):
            continue
        asked = dict(_PARAMETER.findall(choice))
        kind = asked.get("as", "").removesuffix("List")
        if not kind:
            return WHOLE
        if asked.get("v") == "v1" and kind in ("Table", "PartialObjectMetadata"):
            return Form(kind, request.query.get("includeObject", "Metadata"))
    raise NotAcceptable(
        "only the following media types are accepted: application/json, application/json;as=Table;"
        "v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    )


def body_of(stored: Stored, *, api_version: str) -> bytes:
    """The stored bytes, or the object again when it is kept in another version."""
    if stored.body.startswith(f'{{"apiVersion":"{api_version}"'.encode()):
        return stored.body
    return encode({**stored.obj, "apiVersion": api_version})


def shown(resource: Resource, obj: Obj, *, form: Form, registry: Registry, with_columns: bool = True) -> Obj:
    """One object in a form that is not whole."""
    if form.kind == "PartialObjectMetadata":
        return {"kind": form.kind, "apiVersion": _META, "metadata": obj["metadata"]}
    return table(resource, [obj], form=form, registry=registry, with_columns=with_columns)


def table(
    resource: Resource,
    objects: Iterable[Obj],
    *,
    form: Form,
    registry: Registry,
    metadata: Obj | None = None,
    with_columns: bool = True,
) -> Obj:
    rows = []
    for obj in objects:
        row: Obj = {"cells": table_rows.cells(resource, obj, now=registry.clock())}
        if form.include == "Object":
            row["object"] = obj
        elif form.include == "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": _META,
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": _META,
        "metadata": metadata or {"resourceVersion": str(registry.revision)},
        "columnDefinitions": table_rows.columns(resource) if with_columns else None,
        "rows": rows,
    }


def one(request: web.Request, resource: Resource, obj: Obj, *, code: int = 200) -> web.Response:
    wanted, registry = form(request), request.app[CONTEXT].registry
    if wanted.kind:
        return json(request, shown(resource, obj, form=wanted, registry=registry), code=code)
    stored = registry.stored(resource, obj["metadata"].get("namespace"), obj["metadata"]["name"])
    if stored is not None and stored.obj is obj:  # as it was just written: its bytes are there
        return raw(request, body_of(stored, api_version=resource.api_version), code=code)
    if obj.get("apiVersion") != resource.api_version and obj.get("kind") == resource.kind:
        obj = {**obj, "apiVersion": resource.api_version}
    return json(request, obj, code=code)


def json(request: web.Request, value: object, *, code: int = 200) -> web.Response:
    return raw(request, encode(value), code=code)


def raw(request: web.Request, body: bytes, *, code: int = 200) -> web.Response:
    content = body if len(body) <= _LARGE else _Large(body)
    response = web.Response(body=content, status=code, content_type="application/json")
    response.headers["Cache-Control"] = "no-cache, private"
    for warning in request[WARNINGS]:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response


class _Large(Payload):
    """A body that is sent in pieces and then let go.

    A connection that is kept alive keeps its last response, and OpenSSL as much memory as it was ever given at once:
    a few clients that list thousands of pods would hold more than the cluster itself.
    """

    _value: bytes

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        whole, self._value = memoryview(self._value), b""
        for start in range(0, len(whole), _PIECE):
            await writer.write(whole[start : start + _PIECE])


def status(request: web.Request, error: ApiError) -> web.Response:
    response = json(request, error.to_status(), code=error.code)
    if error.code == 429:
        response.headers["Retry-After"] = "10"
    return response
