"""CustomResourceDefinitions: from the definition to what the cluster then serves."""

import json
from datetime import datetime

from clusters.embedded.lifecycle import rfc3339
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.schemas import structural


def decode(body: bytes) -> Obj:
    obj: Obj = json.loads(body)
    return obj


def resources_of(definition: Obj) -> list[Resource]:
    """One resource per served version; the storage version first."""
    spec = definition["spec"]
    versions = sorted(spec["versions"], key=lambda version: not version.get("storage"))
    return [_resource(spec, version) for version in versions if version.get("served")]


def _resource(spec: Obj, version: Obj) -> Resource:
    names = spec["names"]
    schema = (version.get("schema") or {}).get("openAPIV3Schema", {})
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        subresources=tuple(sorted(version.get("subresources") or {})),
        singular=names.get("singular", ""),
        list_kind=names.get("listKind", ""),
        schema=schema,
        shape=structural.shape_of(schema),
        columns=tuple(version.get("additionalPrinterColumns", ())),
    )


def establish(definition: Obj, *, now: datetime) -> None:
    """Put the status a served definition has; the cluster serves it in the same moment."""
    names = definition["spec"]["names"]
    stored = [v["name"] for v in definition["spec"]["versions"] if v.get("storage")]
    old = definition.get("status") or {}
    conditions = old.get("conditions") or [
        _condition("NamesAccepted", reason="NoConflicts", message="no conflicts found", now=now),
        _condition(
            "Established",
            reason="InitialNamesAccepted",
            message="the initial names have been accepted",
            now=now,
        ),
    ]
    versions = list(dict.fromkeys([*old.get("storedVersions", ()), *stored]))
    definition["status"] = {
        "conditions": conditions,
        "acceptedNames": names,
        "storedVersions": versions,
    }


def _condition(type_: str, *, reason: str, message: str, now: datetime) -> Obj:
    return {
        "type": type_,
        "status": "True",
        "lastTransitionTime": rfc3339(now),
        "reason": reason,
        "message": message,
    }
