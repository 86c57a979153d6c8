"""Whether a CustomResourceDefinition's schema is itself in order (pure).

A schema that is not would fail later, at every object of the kind: it is refused when it is written.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from clusters.embedded.causes import Cause

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_KEYWORDS: Final[dict[str, type | tuple[type, ...]]] = {
    "properties": dict,
    "required": list,
    "enum": list,
    "items": dict,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
    "not": dict,
    "pattern": str,
    "nullable": bool,
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), int),
    **dict.fromkeys(("minProperties", "maxProperties"), int),
    "x-kubernetes-list-map-keys": list,
}
_KEY_RULE: Final = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
_UNTYPED: Final = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def check(schema: Any, path: str, *, structural: bool = True) -> Iterator[Cause]:
    """Every fault, with its path. Below anyOf and the like a type may be left out."""
    if not isinstance(schema, dict):
        yield _cause(path, "must be an object")
        return
    wrong = [k for k, kind in _KEYWORDS.items() if k in schema and not isinstance(schema[k], kind)]
    yield from (_cause(f"{path}.{keyword}", "is of the wrong type") for keyword in wrong)
    if wrong:
        return
    kind = schema.get("type")
    if kind is None and structural and not any(schema.get(name) for name in _UNTYPED):
        message = "Required value: must not be empty for specified object fields"
        yield {"reason": "FieldValueRequired", "message": message, "field": f"{path}.type"}
    elif kind is not None and kind not in _TYPES:
        yield _cause(f"{path}.type", f"supported values: {', '.join(_TYPES)}")
    if not _compiles(schema.get("pattern", "")):
        yield _cause(f"{path}.pattern", "must be a valid regular expression")
    yield from _list_keys(schema, path)
    yield from _inner(schema, path, structural=structural)


def _list_keys(schema: dict[str, Any], path: str) -> Iterator[Cause]:
    """What the items of a list are told apart by must always be there."""
    items = schema.get("items")
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(items, dict):
        return
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        inner = items.get("properties", {}).get(key)
        if isinstance(inner, dict) and key not in items.get("required", ()) and inner.get("default") is None:
            field = f"{path}.items.properties[{key}].default"
            yield {"reason": "FieldValueRequired", "message": f"Required value: {_KEY_RULE}", "field": field}


def _inner(schema: dict[str, Any], path: str, *, structural: bool) -> Iterator[Cause]:
    for name, inner in schema.get("properties", {}).items():
        if path.endswith("openAPIV3Schema") and name in ("metadata", "apiVersion", "kind"):
            continue
        yield from check(inner, f"{path}.properties[{name}]", structural=structural)
    if "items" in schema:
        yield from check(schema["items"], f"{path}.items", structural=structural)
    if isinstance(schema.get("additionalProperties"), dict):
        inner = schema["additionalProperties"]
        yield from check(inner, f"{path}.additionalProperties", structural=structural)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for index, inner in enumerate(schema.get(keyword, ())):
            yield from check(inner, f"{path}.{keyword}[{index}]", structural=False)
    if "not" in schema:
        yield from check(schema["not"], f"{path}.not", structural=False)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _cause(field: str, why: str) -> Cause:
    return {"reason": "FieldValueInvalid", "message": f"Invalid value: {why}", "field": field}
