"""Rules for CustomResourceDefinitions (pure)."""

from collections.abc import Iterator
from typing import Any

from clusters.embedded.causes import Cause, invalid, required, unsupported
from clusters.embedded.resources import Obj
from clusters.embedded.schemas import rules


def definition(obj: Obj) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    for field in ("plural", "kind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    if not spec.get("group"):
        yield required("spec.group")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield unsupported("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if obj["metadata"]["name"] != wanted:
        yield invalid("metadata.name", obj["metadata"]["name"], 'must be spec.names.plural+"."+spec.group')
    versions = spec.get("versions") or ()
    if sum(1 for version in versions if version.get("storage")) != 1:
        yield invalid("spec.versions", [], "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if not version.get("name"):
            yield required(f"spec.versions[{index}].name")
    yield from _schemas([(version.get("schema") or {}).get("openAPIV3Schema") for version in versions])


def _schemas(schemas: list[Any]) -> Iterator[Cause]:
    """A schema that all versions share is looked at once, as `spec.validation`, where it was before there were many."""
    shared = bool(schemas) and None not in schemas and all(schema == schemas[0] for schema in schemas)
    for index, schema in enumerate(schemas[:1] if shared else schemas):
        path = "spec.validation.openAPIV3Schema" if shared else f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema is None:
            yield required(path, "schemas are required")
        elif schema.get("type") != "object":
            yield invalid(f"{path}.type", schema.get("type"), "must be object at the root")
        else:
            yield from rules.check(schema, path)
