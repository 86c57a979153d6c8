"""The verbs on objects: get, list, create, update, patch, apply, delete."""

from typing import Any, Final

from aiohttp import web

from clusters.embedded import patch as patches
from clusters.embedded import selectors
from clusters.embedded.errors import BadRequest, NotFound
from clusters.embedded.journal import Stored, encode
from clusters.embedded.rbac import Attributes
from clusters.embedded.registry import Admission, Guard, How, UnknownFields
from clusters.embedded.resources import Obj
from clusters.embedded.schemas.kinds import shape_of
from clusters.embedded.server import answer
from clusters.embedded.server.body import read_any, read_object
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.options import (
    apply_manager,
    check_patch,
    dry_run,
    field_manager,
    undeclared_fields,
    unknown_fields,
)
from clusters.embedded.server.paging import read_page
from clusters.embedded.server.request import USER, Asked, flag, number

APPLY: Final = "application/apply-patch+yaml"
_PROPAGATIONS: Final = ("Background", "Foreground", "Orphan")


async def get(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry = request.app[CONTEXT].registry
    await registry.committed()
    stored = registry.stored(asked.resource, asked.namespace, str(asked.name))
    if stored is None:
        raise NotFound.of(asked.resource, str(asked.name))
    if answer.form(request).kind:
        return answer.one(request, asked.resource, stored.obj)
    return answer.raw(request, answer.body_of(stored, api_version=asked.resource.api_version))


async def list_(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry = request.app[CONTEXT].registry
    await registry.committed()
    page, metadata = read_page(request, asked, registry=registry, matches=matcher(request, asked))
    form = answer.form(request)
    if form.kind == "Table":
        objects = (stored.obj for stored in page)
        shown = answer.table(asked.resource, objects, form=form, registry=registry, metadata=metadata)
        return answer.json(request, shown)
    if form.kind:
        items = [answer.shown(asked.resource, stored.obj, form=form, registry=registry) for stored in page]
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return answer.json(request, {**kind, "metadata": metadata, "items": items})
    resource = asked.resource
    head = {"kind": resource.listed_as, "apiVersion": resource.api_version, "metadata": metadata}
    bodies = b",".join(answer.body_of(stored, api_version=resource.api_version) for stored in page)
    return answer.raw(request, encode(head)[:-1] + b',"items":[' + bodies + b"]}")


def everything(stored: Stored) -> bool:
    """Without selectors. Whoever goes through many need not ask it for each."""
    del stored
    return True


def matcher(request: web.Request, asked: Asked) -> Any:
    """A predicate over Stored, of the request's selectors."""
    labels = selectors.parse(request.query.get("labelSelector", ""))
    text = request.query.get("fieldSelector", "")
    fields = selectors.parse_fields(text, resource_key=asked.resource.key)
    if not labels.requirements and not fields.terms:
        return everything

    def matches(stored: Stored) -> bool:
        obj = stored.obj
        return labels.matches(obj["metadata"].get("labels")) and fields.matches(obj)

    return matches


async def create(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource
    if resource.namespaced and asked.namespace is None:
        raise BadRequest(f"a namespace is required in the path to create {resource.qualified}")
    obj = await read_object(request)
    made = registry.create(
        resource,
        obj,
        namespace=asked.namespace,
        manager=field_manager(request),
        **_how(request),
    )
    await registry.committed()
    return answer.one(request, resource, made, code=201)


async def update(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource
    obj = await read_object(request)
    metadata = obj.setdefault("metadata", {})
    if metadata.get("name") != asked.name:
        raise BadRequest(
            f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({asked.name})"
        )
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", asked.namespace) != asked.namespace:
        raise BadRequest("the namespace of the object does not match the namespace on the URL")
    new = registry.update(
        resource,
        obj,
        subresource=asked.subresource,
        manager=field_manager(request),
        **_how(request),
    )
    await registry.committed()
    return answer.one(request, resource, new)


async def patch(request: web.Request, asked: Asked) -> web.StreamResponse:
    if request.content_type == APPLY:
        return await _apply(request, asked)
    registry, resource = request.app[CONTEXT].registry, asked.resource
    check_patch(request)
    document = await read_any(request)
    change = patches.of_type(request.content_type, document, shape=shape_of(resource), custom=resource.custom)
    new = registry.patch(
        resource,
        asked.namespace,
        str(asked.name),
        change=change,
        subresource=asked.subresource,
        manager=field_manager(request),
        **_how(request),
    )
    await registry.committed()
    return answer.one(request, resource, new)


async def _apply(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource
    manager = apply_manager(request)
    applied = await read_object(request)
    new, made = registry.apply(
        resource,
        asked.namespace,
        str(asked.name),
        applied=applied,
        manager=manager,
        force=flag(request, "force"),
        subresource=asked.subresource,
        **_how(request, unknown=undeclared_fields(resource, applied)),
    )
    await registry.committed()
    return answer.one(request, resource, new, code=201 if made else 200)


def _how(request: web.Request, *, unknown: UnknownFields | None = None) -> How:
    return {"dry_run": dry_run(request), "unknown": unknown or unknown_fields(request), "guard": _guard(request)}


def _guard(request: web.Request) -> Guard:
    """What the registry asks before it writes for this user: no rights out of nothing, no creating by patching."""
    authorizer, user = request.app[CONTEXT].authorizer, request[USER]
    escalation = authorizer.guard(user)

    def guard(admission: Admission) -> None:
        if admission.operation == "CREATE" and request.method != "POST":
            resource, metadata = admission.resource, admission.obj["metadata"]
            wanted = Attributes(
                "create",
                group=resource.group,
                resource=resource.plural,
                namespace=metadata.get("namespace", ""),
                name=metadata["name"],
            )
            authorizer.require(user, wanted)
        escalation(admission)

    return guard


async def delete(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource
    options = await delete_options(request)
    last = registry.delete(resource, asked.namespace, str(asked.name), **options)
    await registry.committed()
    if registry.find(resource, asked.namespace, str(asked.name)) is not None or resource.key == "pods":
        return answer.one(request, resource, last)
    details = {"name": asked.name, "kind": resource.plural, "uid": last["metadata"]["uid"]}
    if resource.group:
        details["group"] = resource.group
    return answer.json(request, _success(details))


async def delete_collection(request: web.Request, asked: Asked) -> web.StreamResponse:
    registry, resource = request.app[CONTEXT].registry, asked.resource
    options = await delete_options(request)
    matches = matcher(request, asked)
    found = [s.obj for s in registry.all_stored(resource, asked.namespace) if matches(s)]
    for obj in found:
        metadata = obj["metadata"]
        registry.delete(resource, metadata.get("namespace"), metadata["name"], **options)
    await registry.committed()
    return answer.json(request, _success({"kind": resource.plural}))


def _success(details: Obj) -> Obj:
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**head, "details": details}


async def delete_options(request: web.Request) -> dict[str, Any]:
    """Registry.delete's arguments, from the body (DeleteOptions) and the query."""
    options = await read_object(request) if (await request.read()).strip() else {}
    grace = number(request, "gracePeriodSeconds")
    propagation = request.query.get("propagationPolicy") or options.get("propagationPolicy")
    if options.get("orphanDependents") and not propagation:
        propagation = "Orphan"
    if propagation and propagation not in _PROPAGATIONS:
        raise BadRequest(f"propagationPolicy must be one of {', '.join(_PROPAGATIONS)}")
    preconditions = options.get("preconditions") or {}
    return {
        "propagation": propagation or "Background",
        "grace_seconds": options.get("gracePeriodSeconds") if grace is None else grace,
        "preconditions_uid": preconditions.get("uid"),
        "preconditions_revision": preconditions.get("resourceVersion"),
        "dry_run": dry_run(request) or bool(options.get("dryRun")),
    }
