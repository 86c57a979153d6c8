"""Paths of settings ("scale_settings.max_instances") as the levels of a YAML file, and back."""

from collections.abc import Mapping
from typing import Any


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} as {"a": {"b": 1}}: the shape a YAML file would have."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *above, last = path.split(".")
        level = nested
        for step in above:
            level = level.setdefault(step, {})
        level[last] = value
    return nested


def flatten(data: Mapping[str, Any], *, path: str = "") -> dict[str, str]:
    """The reverse of `nest`, with every value as text."""
    flat: dict[str, str] = {}
    for key, value in data.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            flat |= flatten(value, path=here)
        else:
            flat[here] = "" if value is None else str(value)
    return flat
