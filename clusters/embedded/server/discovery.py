"""What the cluster serves: versions, groups, resources, health, and the OpenAPI documents.

Clients ask for the aggregated form (one document for everything) or for the older one, group by group.
"""

import re
from typing import Any, Final

from aiohttp import web

from clusters.embedded.errors import ApiError
from clusters.embedded.journal import encode
from clusters.embedded.resources import Catalog, Obj, Resource
from clusters.embedded.server import answer, openapi
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.request import unknown_path

VERSION: Final = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.4+slipway-embedded",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_HEALTH: Final = re.compile(r"^/(healthz|livez|readyz)(/.*)?$")
_DISCOVERY: Final = re.compile(r"^/(api|apis)(/[^/]+){0,2}/?$")
_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STATUS_GROUP_KIND: Final = {"scale": ("autoscaling", "v1", "Scale"), "eviction": ("policy", "v1", "Eviction")}
_OTHER_VERBS: Final = {"proxy": ["create", "delete", "get", "patch", "update"], "log": ["get"]}


def knows(request: web.Request) -> bool:
    """Whether a path below /api or /apis is a discovery document: /api/v1, /apis/GROUP[/VERSION]."""
    steps = request.path.strip("/").split("/")
    return len(steps) <= (2 if steps[0] == "api" else 3)


async def handle(request: web.Request) -> web.StreamResponse:
    if request.method not in ("GET", "HEAD"):
        raise ApiError("the server does not allow this method", code=405, reason="MethodNotAllowed")
    path, catalog = request.path.rstrip("/") or "/", request.app[CONTEXT].registry.catalog
    if _HEALTH.match(path):
        return web.Response(text="ok")
    if path == "/version":
        return answer.json(request, VERSION)
    if path == "/":
        return answer.json(request, {"paths": ["/api", "/apis", "/healthz", "/openapi/v3", "/version"]})
    if path == "/openapi/v3" or path.startswith("/openapi/v3/"):
        return _openapi(request, path.removeprefix("/openapi/v3").strip("/"), catalog)
    if not _DISCOVERY.match(path):
        raise unknown_path()
    if path in ("/api", "/apis") and "apidiscovery.k8s.io;v=v2;" in request.headers.get("Accept", ""):
        body = encode(aggregated(catalog, core=path == "/api"))
        return web.Response(body=body, headers={"Content-Type": _AGGREGATED, "Vary": "Accept"})
    return answer.json(request, _document(path.strip("/").split("/"), catalog))


def _openapi(request: web.Request, path: str, catalog: Catalog) -> web.Response:
    if not path:
        listed = answer.raw(request, openapi.index(catalog))
        listed.content_type = "text/plain"  # JSON, as kubectl knows; a real API server calls it so
        return listed
    body = openapi.document(catalog, path=path)
    if body is None:
        raise unknown_path()
    return answer.raw(request, body)


def _document(steps: list[str], catalog: Catalog) -> Obj:
    groups = catalog.groups()
    if steps == ["api"]:
        return {"kind": "APIVersions", "versions": groups[""], "serverAddressByClientCIDRs": []}
    if steps == ["apis"]:
        listed = [_group(name, versions) for name, versions in groups.items() if name]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    group = "" if steps[0] == "api" else steps[1]
    if steps[0] == "apis" and len(steps) == 2 and group in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
    version = steps[-1]
    if version not in groups.get(group, ()):
        raise unknown_path()
    found = [r for r in catalog if r.group == group and r.version == version]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": [entry for resource in found for entry in _entries(resource)],
    }


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(resource: Resource) -> list[Obj]:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular_name,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        **_traits(resource),
    }
    return [entry, *(_subresource(resource, name) for name in resource.subresources)]


def _traits(resource: Resource) -> Obj:
    """What both forms of discovery say in the same words."""
    traits: Obj = {
        "verbs": list(resource.verbs),
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    return {key: value for key, value in traits.items() if value}


def _subresource(resource: Resource, name: str) -> Obj:
    group, version, kind = _kind_of(resource, name)
    entry = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": _verbs(name),
    }
    if (group, version) != (resource.group, resource.version):
        entry |= {"group": group, "version": version}
    return entry


def _kind_of(resource: Resource, subresource: str) -> tuple[str, str, str]:
    if subresource == "token":
        return "authentication.k8s.io", "v1", "TokenRequest"
    own = (resource.group, resource.version, resource.kind)
    return _STATUS_GROUP_KIND.get(subresource, own)


def _verbs(subresource: str) -> list[str]:
    if subresource in ("status", "scale", "approval"):
        return ["get", "patch", "update"]
    return _OTHER_VERBS.get(subresource, ["update"] if subresource == "finalize" else ["create"])


def aggregated(catalog: Catalog, *, core: bool) -> Obj:
    """APIGroupDiscoveryList, version 2, of the core group or of all others."""
    items = []
    for group, versions in catalog.groups().items():
        if bool(group) is core:
            continue
        listed = [
            {
                "version": version,
                "freshness": "Current",
                "resources": [_aggregated(r) for r in catalog if r.group == group and r.version == version],
            }
            for version in versions
        ]
        metadata: dict[str, Any] = {"creationTimestamp": None} | ({"name": group} if group else {})
        items.append({"metadata": metadata, "versions": listed})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
    return {**head, "items": items}


def _aggregated(resource: Resource) -> Obj:
    entry: Obj = {
        "resource": resource.plural,
        "responseKind": _gvk(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        **_traits(resource),
    }
    if resource.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": _gvk(*_kind_of(resource, name)), "verbs": _verbs(name)}
            for name in resource.subresources
        ]
    return entry


def _gvk(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "version": version, "kind": kind}
