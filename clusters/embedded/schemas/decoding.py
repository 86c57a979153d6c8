"""What a typed API server does to JSON while reading it: drop what is unknown, refuse wrong types (pure)."""

from collections.abc import Iterator
from typing import Any, Final

from clusters.embedded.errors import BadRequest
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.schemas.kinds import shape_of
from clusters.embedded.schemas.shapes import Shape

_GO_NAMES: Final = {
    "string": "string",
    "int": "int64",
    "float": "float64",
    "bool": "bool",
    "bytes": "[]uint8",
    "time": "Time",
    "microtime": "MicroTime",
    "quantity": "Quantity",
    "intstr": "IntOrString",
    "list": "[]",
    "map": "map",
    "struct": "object",
}
_TEXT: Final = (str,)
_PYTHON: Final[dict[str, tuple[type, ...]]] = {
    "string": _TEXT,
    "bytes": _TEXT,
    "time": _TEXT,
    "microtime": _TEXT,
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "quantity": (str, int, float),
    "intstr": (str, int),
}
_JSON_NAMES: Final = {dict: "object", list: "array", str: "string", bool: "bool"}


def decode(resource: Resource, obj: Obj) -> list[str]:
    """Drop unknown fields and nulls from `obj`, in place; return the paths of what was unknown.

    Raises BadRequest for a value of the wrong type in a built-in kind; a custom resource's values are
    checked by its schema instead, with better words.
    """
    return list(_prune(obj, shape_of(resource), "", resource))


def _prune(value: Any, shape: Shape, path: str, resource: Resource) -> Iterator[str]:
    as_in_go = not resource.custom or path.startswith("metadata")
    if as_in_go:
        _check_type(value, shape, path, resource)
    if shape.kind == "list" and isinstance(value, list):
        if as_in_go:
            value[:] = [_zero(shape.items()) if item is None else item for item in value]
        for index, item in enumerate(value):
            yield from _prune(item, shape.items(), f"{path}[{index}]", resource)
    elif shape.kind == "map" and isinstance(value, dict):
        if as_in_go:
            value.update({k: _zero(shape.items()) for k, item in value.items() if item is None})
        for name, item in value.items():
            yield from _prune(item, shape.items(), f"{path}.{name}", resource)
    elif shape.kind == "struct" and isinstance(value, dict):
        yield from _prune_struct(value, shape, path, resource)


def _zero(shape: Shape) -> Any:
    """What Go makes of a null among others: the type's zero value."""
    if shape.kind == "scalar":
        return {"int": 0, "float": 0, "bool": False, "intstr": 0, "quantity": "0"}.get(shape.scalar, "")
    return {"list": [], "any": None}.get(shape.kind, {})


def _prune_struct(value: Obj, shape: Shape, path: str, resource: Resource) -> Iterator[str]:
    fields = shape.fields
    for name in list(value):
        inner = f"{path}.{name}" if path else name
        known = fields.get(name)
        if known is None:
            if not shape.open:
                del value[name]
                yield inner
        elif value[name] is None and not known.nullable:
            del value[name]
        else:
            yield from _prune(value[name], known, inner, resource)


def _check_type(value: Any, shape: Shape, path: str, resource: Resource) -> None:
    if shape.kind == "any" or value is None:
        return
    if shape.kind == "scalar":
        good = isinstance(value, _PYTHON[shape.scalar])
        if isinstance(value, bool) and shape.scalar != "bool":
            good = False
    else:
        good = isinstance(value, list if shape.kind == "list" else dict)
    if not good:
        given = _JSON_NAMES.get(type(value), "number")
        wanted = _GO_NAMES[shape.scalar or shape.kind]
        field = f"{resource.kind}.{path}"
        raise BadRequest.of_body(
            resource, f"json: cannot unmarshal {given} into Go struct field {field} of type {wanted}"
        )
