"""Structural schemas of CustomResourceDefinitions: shape, defaults and validation (pure).

What the API server does with `openAPIV3Schema`, short of CEL rules (`x-kubernetes-validations`), which
are stored and not evaluated. Messages are worded as a real API server words them, with the field's path.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from clusters.embedded.causes import Cause
from clusters.embedded.resources import copied
from clusters.embedded.schemas.shapes import ANYTHING, ROOT_FIELDS, Shape

Schema = dict[str, Any]

_TYPES: Final = {"string": "string", "integer": "int", "number": "float", "boolean": "bool"}
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"


def shape_of(schema: Schema) -> Shape:
    """The shape of a whole object with this schema."""
    shape = _shape(schema)
    if shape.kind != "struct":
        return Shape("struct", own_fields=ROOT_FIELDS, open=True)
    return Shape("struct", own_fields={**shape.own_fields, **ROOT_FIELDS}, open=shape.open)


def _shape(schema: Schema) -> Shape:
    nullable = bool(schema.get("nullable"))
    default = schema.get("default")
    if schema.get(_INT_OR_STRING):
        return Shape("scalar", scalar="intstr", nullable=nullable, default=default)
    kind = schema.get("type")
    if kind in _TYPES:
        return Shape("scalar", scalar=_TYPES[kind], nullable=nullable, default=default)
    if kind == "array":
        return _list_shape(schema)
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    if schema.get("x-kubernetes-embedded-resource"):
        return Shape("struct", own_fields=ROOT_FIELDS, open=True, atomic=atomic)
    if "properties" in schema:
        fields = {name: _shape(value) for name, value in schema["properties"].items()}
        preserved = bool(schema.get(_PRESERVE))
        return Shape("struct", own_fields=fields, open=preserved, atomic=atomic, nullable=nullable)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return Shape("map", item=_shape(values), atomic=atomic, nullable=nullable)
    if kind == "object" and not schema.get(_PRESERVE) and values is not True:
        return Shape("struct", atomic=atomic, nullable=nullable)
    return Shape("any", atomic=atomic, nullable=nullable)


def _list_shape(schema: Schema) -> Shape:
    type_ = schema.get("x-kubernetes-list-type", "atomic")
    return Shape(
        "list",
        item=_shape(schema.get("items", {})) if schema.get("items") else ANYTHING,
        keys=tuple(schema.get("x-kubernetes-list-map-keys", ())) if type_ == "map" else (),
        is_set=type_ == "set",
        atomic=type_ == "atomic",
        nullable=bool(schema.get("nullable")),
    )


def fill_defaults(value: Any, schema: Schema) -> None:
    """Put the schema's defaults in place, in `value`."""
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name not in value and "default" in inner:
                value[name] = copied(inner["default"])
            if name in value:
                fill_defaults(value[name], inner)
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            for inner_value in value.values():
                fill_defaults(inner_value, values)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            fill_defaults(item, schema["items"])


def validate(value: Any, schema: Schema, *, path: str = "") -> list[Cause]:
    """Every rule the value breaks, as causes of a 422."""
    return list(_validate(value, schema, path))


def _validate(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    if not _is_type(value, schema):
        shown = {"int": "integer", "bool": "boolean", "str": "string", "float": "number"}
        given = json.dumps(shown.get(type(value).__name__, _kind(value)))
        wanted = "integer or string" if schema.get(_INT_OR_STRING) else schema["type"]
        message = f"{path} in body must be of type {wanted}: {given}"
        yield _cause("FieldValueTypeInvalid", path, f"Invalid value: {given}: {message}")
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(choice) for choice in schema["enum"])
        message = f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
        yield _cause("FieldValueNotSupported", path, message)
    for check in _CHECKS.get(type(value), ()):
        yield from check(value, schema, path)
    yield from _combinations(value, schema, path)


def _kind(value: Any) -> str:
    return {dict: "object", list: "array", type(None): "null"}.get(type(value), "unknown")


def _is_type(value: Any, schema: Schema) -> bool:
    kind = schema.get("type")
    if schema.get(_INT_OR_STRING):
        return isinstance(value, int | str) and not isinstance(value, bool)
    if kind is None:
        return True
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    wanted: dict[str, Any] = {"string": str, "number": (int, float), "object": dict, "array": list}
    return isinstance(value, wanted[kind]) if kind in wanted else False


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Cause]:
    for name in schema.get("required", ()):
        if name not in value:
            yield _cause("FieldValueRequired", _join(path, name), "Required value")
    properties = schema.get("properties") or {}
    values = schema.get("additionalProperties")
    for name, inner in value.items():
        if name in properties:
            yield from _validate(inner, properties[name], _join(path, name))
        elif isinstance(values, dict):
            yield from _validate(inner, values, _join(path, name))
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        message = f"Too many: {len(value)}: must have at most {most} items"
        yield _cause("FieldValueTooMany", path, message)
    if least is not None and len(value) < least:
        yield _invalid(value, path, f"{path} in body should have at least {least} properties")


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            yield from _validate(item, items, f"{path}[{index}]")
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        message = f"Too many: {len(value)}: must have at most {most} items"
        yield _cause("FieldValueTooMany", path, message)
    if least is not None and len(value) < least:
        yield _invalid(len(value), path, f"{path} in body should have at least {least} items")
    yield from _duplicates(value, schema, path)


def _duplicates(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    keys = schema.get("x-kubernetes-list-map-keys")
    unique = schema.get("x-kubernetes-list-type") == "set" or schema.get("uniqueItems")
    if not keys and not unique:
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        named = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else item
        text = json.dumps(named, sort_keys=True)
        if text in seen:
            yield _cause("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {text}")
        seen.add(text)


def _number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and (value < least or (value == least and schema.get("exclusiveMinimum"))):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield _invalid(value, path, f"{path} in body should be {words} {least}")
    if most is not None and (value > most or (value == most and schema.get("exclusiveMaximum"))):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield _invalid(value, path, f"{path} in body should be {words} {most}")
    step = schema.get("multipleOf")
    if step and value % step:
        yield _invalid(value, path, f"{path} in body should be a multiple of {step}")


def _string(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    most, least, pattern = (schema.get(name) for name in ("maxLength", "minLength", "pattern"))
    if most is not None and len(value) > most:
        yield _cause("FieldValueTooLong", path, f"Too long: may not be more than {most} bytes")
    if least is not None and len(value) < least:
        yield _invalid(value, path, f"{path} in body should be at least {least} chars long")
    if pattern is not None and not re.search(pattern, value):
        yield _invalid(value, path, f"{path} in body should match '{pattern}'")


_CHECKS: Final[dict[type, tuple[Callable[[Any, Schema, str], Iterator[Cause]], ...]]] = {
    dict: (_object,),
    list: (_array,),
    int: (_number,),
    float: (_number,),
    str: (_string,),
}


def _combinations(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    for inner in schema.get("allOf", ()):
        yield from _validate(value, inner, path)
    if schema.get("anyOf") and not any(_fits(value, inner, path) for inner in schema["anyOf"]):
        yield _invalid(value, path, f"{path} in body must validate at least one schema (anyOf)")
    if schema.get("oneOf") and sum(_fits(value, inner, path) for inner in schema["oneOf"]) != 1:
        yield _invalid(value, path, f"{path} in body must validate one and only one schema (oneOf)")
    if schema.get("not") and _fits(value, schema["not"], path):
        yield _invalid(value, path, f"{path} in body must not validate the schema (not)")


def _fits(value: Any, schema: Schema, path: str) -> bool:
    return next(_validate(value, schema, path), None) is None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _invalid(value: Any, path: str, message: str) -> Cause:
    return _cause("FieldValueInvalid", path, f"Invalid value: {json.dumps(value)}: {message}")


def _cause(reason: str, path: str, message: str) -> Cause:
    return {"reason": reason, "message": message, "field": path or "<nil>"}
