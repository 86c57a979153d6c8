"""The three patch documents of Kubernetes, each turned into a function from object to object (pure).

* merge patch (RFC 7386): maps merge, null removes, everything else replaces;
* JSON patch (RFC 6902): a list of operations on paths;
* strategic merge patch: a merge patch that knows the kind's lists: by `patchMergeKey` items merge,
  `$patch: delete | replace`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`.
"""

from collections.abc import Callable
from typing import Any, Final

from clusters.embedded.errors import ApiError, BadRequest, UnsupportedMediaType
from clusters.embedded.resources import Obj, copied
from clusters.embedded.schemas.shapes import Shape

MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"

_DIRECTIVE: Final = "$patch"
_DELETE_VALUES: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"
_RETAIN: Final = "$retainKeys"


def of_type(content_type: str, document: Any, *, shape: Shape, custom: bool) -> Callable[[Obj], Obj]:
    """The change a patch document describes. Raises UnsupportedMediaType, BadRequest."""
    if content_type == JSON:
        if not isinstance(document, list):
            raise BadRequest("a JSON patch is a list of operations")
        return lambda obj: apply_operations(obj, document)
    if content_type not in (MERGE, STRATEGIC) or (custom and content_type == STRATEGIC):
        known = [JSON, MERGE, "application/apply-patch+yaml"] + ([] if custom else [STRATEGIC])
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(known)
        )
    if not isinstance(document, dict):
        raise BadRequest("the patch is not an object")
    if content_type == MERGE:
        return lambda obj: _object(merge(obj, document))
    return lambda obj: _object(strategic(obj, document, shape=shape))


def _object(value: Any) -> Obj:
    if not isinstance(value, dict):
        raise BadRequest("the patch leaves something that is not an object")
    return value


def merge(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    result = dict(value) if isinstance(value, dict) else {}
    for name, inner in change.items():
        if inner is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), inner)
    return result


# --- JSON patch -----------------------------------------------------------------------------------


def apply_operations(obj: Obj, operations: list[Any]) -> Obj:
    """RFC 6902. Raises Invalid (422) when an operation does not fit the object."""
    result: Any = copied(obj)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(
                f"the server rejected our request due to an error in our request: {operation}: {error}",
                code=422,
                reason="Invalid",
            ) from error
    return _object(result)


def _operate(document: Any, operation: Obj) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name in ("add", "replace"):
        return _put(document, path, operation["value"], insert=name == "add")
    if name == "remove":
        return _drop(document, path)
    if name == "test":
        if _at(document, path) != operation["value"]:
            raise ValueError(f"testing value {operation['path']} failed")
        return document
    if name in ("copy", "move"):
        source = _pointer(operation["from"])
        value = copied(_at(document, source))
        if name == "move":
            document = _drop(document, source)
        return _put(document, path, value, insert=True)
    raise ValueError(f"unknown operation {name}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _at(document: Any, path: list[str]) -> Any:
    for step in path:
        document = document[_index(document, step)]
    return document


def _index(container: Any, step: str) -> Any:
    if not isinstance(container, list):
        return step
    if not step.isdigit():
        raise ValueError(f"{step!r} is not an index")
    return int(step)


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" and insert else int(last)
        if index > len(parent) or (not insert and index >= len(parent)):
            raise IndexError(f"index {last} is out of range")
        parent[index : index + (0 if insert else 1)] = [value]
    elif insert or last in parent:
        parent[last] = value
    else:
        raise KeyError(f"replace operation does not apply: doc is missing key: {last}")
    return document


def _drop(document: Any, path: list[str]) -> Any:
    parent = _at(document, path[:-1])
    del parent[_index(parent, path[-1])]
    return document


# --- Strategic merge patch --------------------------------------------------------------------------


def strategic(value: Any, change: Obj, *, shape: Shape) -> Any:
    """`value` (a map or nothing) with a strategic merge patch for its shape applied."""
    directive = change.get(_DIRECTIVE)
    if directive == "replace":
        return {name: inner for name, inner in change.items() if name != _DIRECTIVE}
    if directive == "delete":
        return {}
    result = dict(value) if isinstance(value, dict) else {}
    retained = change.get(_RETAIN)
    for name, inner in change.items():
        if name in (_DIRECTIVE, _RETAIN) or name.startswith(_ORDER):
            continue
        if name.startswith(_DELETE_VALUES):
            field = name.removeprefix(_DELETE_VALUES)
            result[field] = [item for item in result.get(field, []) if item not in inner]
        elif inner is None:
            result.pop(name, None)
        else:
            result[name] = _strategic_field(result.get(name), inner, shape=shape.field(name))
    if retained is not None:
        result = {name: inner for name, inner in result.items() if name in retained}
    for name, order in change.items():
        field = name.removeprefix(_ORDER)
        if name.startswith(_ORDER) and isinstance(result.get(field), list):
            result[field] = _ordered(result[field], order, key=shape.field(field).merge)
    return result


def _strategic_field(value: Any, change: Any, *, shape: Shape) -> Any:
    if isinstance(change, dict):
        return strategic(value, change, shape=shape)
    if not isinstance(change, list) or shape.merge is None:
        return change
    items = list(value) if isinstance(value, list) else []
    if not shape.merge:
        return items + [item for item in change if item not in items]
    return _merge_items(items, change, key=shape.merge, shape=shape.items())


def _merge_items(items: list[Any], changes: list[Any], *, key: str, shape: Shape) -> list[Any]:
    if any(isinstance(c, dict) and c.get(_DIRECTIVE) == "replace" for c in changes):
        return [c for c in changes if c.get(_DIRECTIVE) != "replace"]
    for change in changes:
        if not isinstance(change, dict) or key not in change:
            raise BadRequest(f"map: {change} does not contain declared merge key: {key}")
        at = next((i for i, item in enumerate(items) if item.get(key) == change[key]), None)
        if change.get(_DIRECTIVE) == "delete":
            items = [item for item in items if item.get(key) != change[key]]
        elif at is None:
            items.append(strategic(None, change, shape=shape))
        else:
            items[at] = strategic(items[at], change, shape=shape)
    return items


def _ordered(items: list[Any], order: list[Any], *, key: str | None) -> list[Any]:
    """The items in the order asked for; those not named stay behind the one they followed."""
    names = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]
    ranked: list[tuple[tuple[int, int], Any]] = []
    last = -1
    for at, item in enumerate(items):
        name = item.get(key) if key else item
        if name in names:
            ranked.append(((names.index(name), -1), item))
            last = names.index(name)
        else:
            ranked.append(((last, at), item))
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]
