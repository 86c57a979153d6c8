"""Which fields an object has, and who owns them: sets of paths, and their form in managedFields (pure).

A path is a tuple of steps in Kubernetes' own notation:

    ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"web"}', "f:image")

`f:` names a field, `k:` an item of a list by its keys, `v:` an item of a set by its value. An atomic
list or struct is one leaf. Items of such lists and keys of maps are members in their own right, so
an empty one can be owned too.
"""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from clusters.embedded.resources import Obj
from clusters.embedded.schemas.shapes import Shape

Path = tuple[str, ...]
Fields = frozenset[Path]

NO_FIELDS: Final[Fields] = frozenset()
_PRESENT: Final = object()  # the value of a member that holds others
_NEVER_OWNED: Final = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "uid",
                "creationTimestamp",
                "generation",
                "resourceVersion",
                "managedFields",
                "selfLink",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            )
        ),
    }
)


@dataclass(frozen=True)
class Owner:
    """One entry of managedFields without its fields."""

    manager: str
    operation: str  # Apply or Update
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        """As conflicts name it."""
        place = f" with subresource {json.dumps(self.subresource)}" if self.subresource else ""
        version = "" if self.operation == "Apply" else f" using {self.api_version}"
        return f"{json.dumps(self.manager)}{place}{version}"


def values(obj: Obj, shape: Shape) -> dict[Path, Any]:
    """Every owned thing in `obj` with its value; what the system sets itself is left out."""
    found = dict(_walk(obj, shape, ()))
    return {path: value for path, value in found.items() if not _is_system(path)}


def _is_system(path: Path) -> bool:
    return (path[:1] in _NEVER_OWNED and (len(path) == 1 or path[0] != "f:metadata")) or path[:2] in _NEVER_OWNED


def _walk(value: Any, shape: Shape, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and not shape.atomic:
        declared: Mapping[str, Shape] = shape.fields if shape.kind == "struct" else {}
        for name, inner in value.items():
            step = (*path, f"f:{name}")
            if name not in declared and isinstance(inner, dict | list) and inner:
                yield step, _PRESENT
            yield from _walk(inner, shape.field(name), step)
    elif isinstance(value, list) and (shape.keys or shape.is_set) and value:
        for item in value:
            step = (*path, item_step(item, shape))
            yield step, _PRESENT
            if shape.keys:
                yield from _walk(item, shape.items(), step)
    else:
        yield path, value


def item_step(item: Any, shape: Shape) -> str:
    """How a path names an item of an associative list."""
    if not shape.keys:
        return "v:" + json.dumps(item, separators=(",", ":"))
    return "k:" + json.dumps(keys_of(item, shape), separators=(",", ":"), sort_keys=True)


def keys_of(item: Any, shape: Shape) -> Obj:
    """The fields that name an item, with defaults for what is left out (a port's protocol)."""
    if not isinstance(item, dict):
        return {}
    named = {key: item.get(key, shape.items().field(key).default) for key in shape.keys}
    return {key: value for key, value in named.items() if value is not None}


def covers(fields: Fields, path: Path) -> bool:
    """Whether a set holds `path` or anything below it."""
    return any(member[: len(path)] == path for member in fields)


def shown(path: Path) -> str:
    """`.spec.template.spec.containers[name="web"].image`"""
    return "".join(_shown_step(step) for step in path)


def _shown_step(step: str) -> str:
    kind, text = step[:2], step[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "v:":
        return f"[={text}]"
    return "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(text).items()) + "]"


# --- managedFields ----------------------------------------------------------------------------------


def read(entries: Iterable[Obj]) -> dict[Owner, Fields]:
    """managedFields as sets. Entries that cannot be read are dropped, as a real API server does."""
    owners: dict[Owner, Fields] = {}
    for entry in entries:
        if entry.get("fieldsType") != "FieldsV1" or entry.get("operation") not in ("Apply", "Update"):
            continue
        owner = Owner(
            entry.get("manager", ""),
            entry["operation"],
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )
        owners[owner] = owners.get(owner, NO_FIELDS) | _from_tree(entry.get("fieldsV1") or {})
    return owners


def write(owners: Mapping[Owner, Fields], *, times: Mapping[Owner, str]) -> list[Obj]:
    """Sets as managedFields, applies first, then in order of time."""
    entries = []
    for owner, fields in owners.items():
        if not fields:
            continue
        entry: Obj = {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": owner.api_version,
            "time": times[owner],
            "fieldsType": "FieldsV1",
            "fieldsV1": _to_tree(fields),
        }
        entries.append(entry | ({"subresource": owner.subresource} if owner.subresource else {}))
    return sorted(entries, key=lambda e: (e["operation"] != "Apply", e["time"], e["manager"]))


def times_of(entries: Iterable[Obj]) -> dict[Owner, str]:
    return {
        Owner(e.get("manager", ""), e.get("operation", ""), e.get("apiVersion", ""), e.get("subresource", "")): e.get(
            "time", ""
        )
        for e in entries
    }


def _from_tree(tree: Obj) -> Fields:
    found: set[Path] = set()
    todo: list[tuple[Path, Obj]] = [((), tree)]
    while todo:
        path, node = todo.pop()
        if not node and path:
            found.add(path)
        for step, inner in node.items():
            if step == ".":
                found.add(path)
            else:
                todo.append(((*path, step), inner if isinstance(inner, dict) else {}))
    return frozenset(found)


@functools.lru_cache(maxsize=1024)
def _to_tree(fields: Fields) -> Obj:
    """The same fields give the same tree: a thousand pods of one maker share one."""
    tree: Obj = {}
    for path in sorted(fields):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    _drop_lone_dots(tree)
    return tree


def _drop_lone_dots(node: Obj) -> None:
    if list(node) == ["."]:
        node.clear()
    for inner in node.values():
        _drop_lone_dots(inner)
