"""Rows and columnDefinitions of a Table: what `kubectl get` prints (pure)."""

import functools
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from clusters.embedded.resources import Obj, Resource, value_at
from clusters.embedded.tables import cells as cell_functions
from clusters.embedded.tables import jsonpath, pods
from clusters.embedded.tables.age import age
from clusters.embedded.tables.kinds import COLUMNS

# What a column of kinds.py may name behind its "|".
_FUNCTIONS: Final[dict[str, Any]] = vars(cell_functions) | vars(pods)
_COLUMN: Final = re.compile(r"(?P<name>[^=]+)=(?P<path>[\w.]*)(?:\|(?P<function>\w+))?(?:\?(?P<default>.+))?")
_AGE: Final = "Age=metadata.creationTimestamp|ago?<unknown>"


@dataclass(frozen=True)
class Column:
    """One column of a built-in kind, read from its line in kinds.py."""

    name: str
    path: str
    function: str | None
    default: str | int

    @classmethod
    def read(cls, text: str) -> "Column":
        match = _COLUMN.fullmatch(_AGE if text == "Age" else text)
        assert match is not None, text  # noqa: S101 - a slip in kinds.py, which every test of a Table finds
        default = match["default"] or ""
        return cls(match["name"], match["path"], match["function"], int(default) if default.isdigit() else default)

    def cell(self, obj: Obj, now: datetime) -> Any:
        value = value_at(obj, self.path) if self.path or self.function else None
        if self.function is not None:
            value = _FUNCTIONS[self.function](value, now)
        return self.default if value is None or value == "" else value


def columns(resource: Resource) -> list[Obj]:
    """The columnDefinitions."""
    if resource.columns:
        return [_definition("Name"), *(_definition(**column) for column in resource.columns)]
    names = [column.name for column in _columns(resource.key)]
    return [_definition(name.rstrip("*"), priority=int(name.endswith("*"))) for name in names]


def cells(resource: Resource, obj: Obj, *, now: datetime) -> list[Any]:
    """One row."""
    if resource.columns:
        return [obj["metadata"]["name"], *(_custom_cell(obj, column, now) for column in resource.columns)]
    return [column.cell(obj, now) for column in _columns(resource.key)]


@functools.cache
def _columns(key: str) -> tuple[Column, ...]:
    own = COLUMNS.get(key, "Age")
    text = own if "metadata.name" in own else f"Name=metadata.name, {own}"
    return tuple(Column.read(column) for column in text.split(", "))


def _definition(name: str, *, priority: int = 0, **given: Any) -> Obj:
    kind, words = given.get("type", "string"), given.get("description", "")
    form = given.get("format", "name" if name == "Name" and not given else "")
    return {"name": name, "type": kind, "format": form, "description": words, "priority": priority}


def _custom_cell(obj: Obj, column: Obj, now: datetime) -> Any:
    found = jsonpath.find(obj, column["jsonPath"])
    if not found:
        return None
    if column["type"] == "date":
        return age(str(found[0]), now)
    if column["type"] in ("integer", "number", "boolean"):
        return found[0]
    return ",".join(jsonpath.text(value) for value in found)
