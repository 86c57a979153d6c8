"""Rules for CustomResourceDefinitions (pure)."""

from collections.abc import Iterator

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
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
        elif schema.get("type") != "object":
            field = f"spec.versions[{index}].schema.openAPIV3Schema.type"
            yield invalid(field, schema.get("type"), "must be object at the root")
        else:
            yield from rules.check(schema, f"spec.versions[{index}].schema.openAPIV3Schema")
        if not version.get("name"):
            yield required(f"spec.versions[{index}].name")
