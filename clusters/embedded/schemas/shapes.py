"""The shape of every kind: what its fields are, and which lists are maps in disguise (pure).

Server-side apply, strategic merge patches, pruning and the OpenAPI documents all ask the same
question, "what is this field?", and a `Shape` is the answer. Built-in kinds come from kubernetes.json, a table of
the published API; custom resources from their structural schema (structural.py builds the same Shapes).
Where nothing is known (`ANYTHING`), maps are merged field by field and lists are replaced whole.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SCALARS: Final = frozenset({"string", "int", "float", "bool", "bytes", "time", "microtime", "quantity", "intstr"})


@dataclass(frozen=True)
class Shape:
    """`kind` is scalar, struct, map, list or any; the rest says how it merges."""

    kind: str
    scalar: str = ""  # of a scalar: one of SCALARS, or number
    struct: str = ""  # of a built-in struct: its name in kubernetes.json
    own_fields: Mapping[str, "Shape"] = field(default_factory=dict)  # of any other struct
    open: bool = False  # a struct that keeps fields it does not declare
    nullable: bool = False  # null is a value of its own, not an absence
    item: "Shape | None" = None  # of a map's values or a list's items
    keys: tuple[str, ...] = ()  # a list that is a map: which fields name an item
    is_set: bool = False
    atomic: bool = False  # replaced and owned as one
    merge: str | None = None  # strategic merge: None replaces, "" by value, else the key
    retain_keys: bool = False
    default: Any = None

    @property
    def fields(self) -> Mapping[str, "Shape"]:
        return fields_of(self.struct) if self.struct else self.own_fields

    def field(self, name: str) -> "Shape":
        """The shape of a key of this struct, map or unknown thing."""
        if self.kind == "struct":
            return self.fields.get(name, ANYTHING)
        return self.item or ANYTHING

    def items(self) -> "Shape":
        return self.item or ANYTHING


ANYTHING: Final = Shape("any")
STRING: Final = Shape("scalar", scalar="string")


@functools.cache
def built_in_types() -> dict[str, dict[str, Any]]:
    """The types of kubernetes.json: {"core.v1.Container": {"fields": {JSON name: field}, "atomic": true?}}.

    A field is {"t": type, "n": protobuf number, "keys": [...]?, "set": true?, "merge": key or "", "retain": true?,
    "atomic": true?, "default": value?, "required": true?, "pointer": true?, "inline": true?}. Types are `string int
    float bool bytes time microtime quantity intstr raw`, a struct's name, `[]T` and `{}T`.
    """
    document = json.loads((Path(__file__).parent / "kubernetes.json").read_text())
    types: dict[str, dict[str, Any]] = document["types"]
    return types


@functools.cache
def fields_of(struct: str) -> Mapping[str, Shape]:
    """JSON name -> shape, with what is inline flattened in."""
    found: dict[str, Shape] = {}
    for name, entry in built_in_types()[struct]["fields"].items():
        if entry.get("inline"):
            found.update(fields_of(entry["t"]))
        else:
            found[name] = _shape(entry["t"], entry)
    return found


def _shape(kind: str, entry: Mapping[str, Any]) -> Shape:
    default = entry.get("default")
    if kind in SCALARS:
        return Shape("scalar", scalar=kind, default=default)
    if kind == "raw":
        return ANYTHING
    if kind.startswith("[]"):
        keys, is_set = tuple(entry.get("keys", ())), bool(entry.get("set"))
        return Shape(
            "list",
            item=_shape(kind[2:], {}),
            keys=keys,
            is_set=is_set,
            atomic=not (keys or is_set),
            merge=entry.get("merge"),
        )
    if kind.startswith("{}"):
        return Shape("map", item=_shape(kind[2:], {}), atomic=bool(entry.get("atomic")))
    if kind not in built_in_types():
        return ANYTHING
    atomic = bool(entry.get("atomic") or built_in_types()[kind].get("atomic"))
    retain = bool(entry.get("retain"))
    return Shape("struct", struct=kind, atomic=atomic, retain_keys=retain, default=default)


METADATA: Final = Shape("struct", struct="meta.v1.ObjectMeta")
ROOT_FIELDS: Final[Mapping[str, Shape]] = {"apiVersion": STRING, "kind": STRING, "metadata": METADATA}
SCALE: Final = Shape("struct", own_fields={**ROOT_FIELDS, **fields_of("autoscaling.v1.Scale")})
