"""The scale subresource: how many replicas, seen and changed without knowing the kind.

A write goes to `spec.replicas` under the caller's name with subresource "scale", so field ownership
shows who scales (and a later apply that says otherwise meets a conflict naming them).
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from clusters.embedded import patch as patches
from clusters.embedded import selectors
from clusters.embedded.causes import invalid
from clusters.embedded.errors import BadRequest, Invalid
from clusters.embedded.resources import Obj
from clusters.embedded.schemas.decoding import decode
from clusters.embedded.schemas.shapes import SCALE
from clusters.embedded.server import answer
from clusters.embedded.server.body import read_any, read_object
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.objects import APPLY
from clusters.embedded.server.options import apply_manager, dry_run, field_manager, unknown_fields
from clusters.embedded.server.request import SCALES, Asked, flag


def scale_of(obj: Obj) -> Obj:
    """The autoscaling/v1 Scale of a workload."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    selector = selectors.to_text(obj["spec"].get("selector"))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": status.get("replicas", 0), "selector": selector},
    }


async def get(request: web.Request, asked: Asked) -> web.StreamResponse:
    obj = request.app[CONTEXT].registry.get(asked.resource, asked.namespace, str(asked.name))
    return answer.json(request, scale_of(obj))


async def update(request: web.Request, asked: Asked) -> web.StreamResponse:
    new = await read_object(request)
    return await _write(request, asked, lambda _old: new)


async def patch(request: web.Request, asked: Asked) -> web.StreamResponse:
    if request.content_type == APPLY:
        return await _apply(request, asked)
    document = await read_any(request)
    return await _write(request, asked, patches.of_type(request.content_type, document, shape=SCALE, custom=False))


async def _apply(request: web.Request, asked: Asked) -> web.StreamResponse:
    """An applied Scale is an applied `spec.replicas`."""
    registry, resource = request.app[CONTEXT].registry, asked.resource
    scale = await read_object(request)
    wanted = {"apiVersion": resource.api_version, "kind": resource.kind, "spec": {"replicas": _replicas(scale, asked)}}
    obj, _ = registry.apply(
        resource,
        asked.namespace,
        str(asked.name),
        applied=wanted,
        manager=apply_manager(request),
        force=flag(request, "force"),
        subresource="scale",
        dry_run=dry_run(request),
    )
    await registry.committed()
    return answer.json(request, scale_of(obj))


async def _write(request: web.Request, asked: Asked, change: Callable[[Obj], Obj]) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource

    def rescale(obj: Obj) -> Obj:
        new = change(scale_of(obj))
        if paths := decode(SCALES, new):
            unknown_fields(request)(paths)
        obj["spec"]["replicas"] = _replicas(new, asked)
        revision = (new.get("metadata") or {}).get("resourceVersion")
        if revision:
            obj["metadata"]["resourceVersion"] = revision
        return obj

    obj = registry.patch(
        resource,
        asked.namespace,
        str(asked.name),
        change=rescale,
        subresource="scale",
        manager=field_manager(request),
        dry_run=dry_run(request),
    )
    await registry.committed()
    return answer.json(request, scale_of(obj))


def _replicas(scale: Obj, asked: Asked) -> int:
    value: Any = (scale.get("spec") or {}).get("replicas", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"spec.replicas must be a whole number, not {value!r}")
    if value < 0:
        cause = invalid("spec.replicas", value, "must be greater than or equal to 0")
        raise Invalid.of(asked.resource, str(asked.name), [cause])
    return value
