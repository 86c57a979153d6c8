"""The JSONPath of printer columns: `.a.b`, `["a"]`, `[0]`, `[*]`, `[?(@.type=="Ready")]` (pure)."""

import json
import re
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \[['"](?P<quoted>[^'"]*)['"]\]
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\]|\.\*)
      | \[\?\(@\.(?P<key>[\w.]+)\s*(?P<op>==|!=)\s*['"]?(?P<value>[^'")]*)['"]?\)\]""",
    re.VERBOSE,
)


def find(value: Any, path: str) -> list[Any]:
    """All matches, without nulls; none for a path that cannot be read."""
    found, at = [value], 0
    path = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    while at < len(path):
        match = _STEP.match(path, at)
        if not match:
            return []
        found = [inner for item in found for inner in _take(item, match)]
        at = match.end()
    return [item for item in found if item is not None]


def _take(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["quoted"] if step["field"] is None else step["field"].replace("\\", "")
    if name == "*" or step["all"]:
        return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if name is not None:
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list):
        return []
    if step["index"]:
        index = int(step["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    wanted = step["op"] == "=="
    return [item for item in value if (_at(item, step["key"]) == step["value"]) is wanted]


def _at(item: Any, key: str) -> str | None:
    for name in key.split("."):
        item = item.get(name) if isinstance(item, dict) else None
    return None if item is None else text(item)


def text(value: Any) -> str:
    """A value as a cell shows it."""
    return value if isinstance(value, str) else json.dumps(value)
