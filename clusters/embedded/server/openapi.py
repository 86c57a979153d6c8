"""OpenAPI v3, as much as kubectl asks for: per group and version, the schemas of its kinds and their
PATCH operations (which say that `fieldValidation` is understood, so kubectl leaves checking to us).
"""

import functools
import hashlib
from typing import Any, Final

from clusters.embedded.journal import encode
from clusters.embedded.resources import Catalog, Obj, Resource
from clusters.embedded.schemas.kinds import struct_name
from clusters.embedded.schemas.shapes import SCALARS, built_in_types

_PARAMETERS: Final = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "force")
]
_SCALAR_SCHEMAS: Final[dict[str, Obj]] = {
    "string": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "double"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "intstr": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
}
_METADATA: Final = "meta.v1.ObjectMeta"


def index(catalog: Catalog) -> bytes:
    """The list of documents; the hash in an address changes with its content, so clients may cache."""
    paths = {}
    for group, versions in catalog.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(document(catalog, path=path) or b"").hexdigest()[:32]
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return encode({"paths": paths})


def document(catalog: Catalog, *, path: str) -> bytes | None:
    """The document of `api/v1` or `apis/GROUP/VERSION`; None when that is not served."""
    steps = path.split("/")
    group = steps[1] if len(steps) == 3 else ""
    found = tuple(r for r in catalog if r.group == group and r.version == steps[-1])
    return _encoded(path, found, encode([r.schema for r in found])) if found else None


@functools.lru_cache(maxsize=64)
def _encoded(path: str, resources: tuple[Resource, ...], _schemas: bytes) -> bytes:
    schemas: dict[str, Obj] = {}
    paths: dict[str, Obj] = {}
    for resource in resources:
        name = _component(struct_name(resource)) if not resource.custom else _custom_name(resource)
        schemas[name] = _kind(resource)
        paths[_path(path, resource)] = _operations(resource, name)
    todo = {_METADATA, *_references(schemas)}
    while todo:
        name = todo.pop()
        if _component(name) not in schemas:
            schemas[_component(name)] = _struct(name)
            todo |= _references(schemas[_component(name)])
    info = {"title": "Slipway embedded cluster", "version": "v1"}
    return encode({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}})


def _path(prefix: str, resource: Resource) -> str:
    place = "namespaces/{namespace}/" if resource.namespaced else ""
    return f"/{prefix}/{place}{resource.plural}/{{name}}"


def _gvk(resource: Resource) -> Obj:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _operations(resource: Resource, schema: str) -> Obj:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    operation = {
        "x-kubernetes-group-version-kind": _gvk(resource),
        "parameters": _PARAMETERS,
        "responses": {"200": {"description": "OK", "content": content}},
    }
    return {"get": operation, "put": operation, "patch": operation}


def _kind(resource: Resource) -> Obj:
    head = {name: {"type": "string"} for name in ("apiVersion", "kind")}
    metadata = {"allOf": [{"$ref": f"#/components/schemas/{_component(_METADATA)}"}]}
    if resource.schema is not None:
        found: Obj = {**resource.schema}
    elif struct_name(resource) in built_in_types():
        found = _struct(struct_name(resource))
    else:
        found = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {**found.get("properties", {}), **head, "metadata": metadata}
    return {**found, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(resource)]}


def _struct(name: str) -> Obj:
    entry = built_in_types()[name]
    schema: Obj = {"type": "object", "properties": _properties(name)}
    if entry.get("atomic"):
        schema["x-kubernetes-map-type"] = "atomic"
    required = [k for k, field in entry["fields"].items() if field.get("required")]
    return schema | ({"required": required} if required else {})


def _properties(name: str) -> dict[str, Obj]:
    found: dict[str, Obj] = {}
    for field_name, field in built_in_types()[name]["fields"].items():
        if field.get("inline"):
            found.update(_properties(field["t"]))
        else:
            found[field_name] = _type(field["t"]) | _hints(field)
    return found


def _type(kind: str) -> Obj:
    if kind in SCALARS:
        return _SCALAR_SCHEMAS[kind]
    if kind.startswith("[]"):
        return {"type": "array", "items": _type(kind[2:])}
    if kind.startswith("{}"):
        return {"type": "object", "additionalProperties": _type(kind[2:])}
    if kind in built_in_types():
        return {"allOf": [{"$ref": f"#/components/schemas/{_component(kind)}"}]}
    return {"type": "object"}


def _hints(field: dict[str, Any]) -> Obj:
    """How the field merges, in the words of Kubernetes' OpenAPI extensions."""
    hints: Obj = {}
    if field.get("keys"):
        hints |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": field["keys"]}
    elif field["t"].startswith("[]"):
        hints["x-kubernetes-list-type"] = "set" if field.get("set") else "atomic"
    if "merge" in field:
        hints["x-kubernetes-patch-strategy"] = "merge"
        if field["merge"]:
            hints["x-kubernetes-patch-merge-key"] = field["merge"]
    if field.get("retain"):
        hints["x-kubernetes-patch-strategy"] = "retainKeys"
    if "default" in field:
        hints["default"] = field["default"]
    return hints


def _component(name: str) -> str:
    if name.startswith("meta."):
        return "io.k8s.apimachinery.pkg.apis." + name
    return "io.k8s.api." + name


def _custom_name(resource: Resource) -> str:
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = set().union(*map(_references, value.values())) if value else set()
        reference = value.get("$ref")
        if isinstance(reference, str):
            name = reference.rsplit("/", 1)[-1]
            found.add(name.removeprefix("io.k8s.apimachinery.pkg.apis.").removeprefix("io.k8s.api."))
        return found
    return set().union(*map(_references, value)) if isinstance(value, list) and value else set()
