"""docs/settings.md says what the code reads, no more and no less."""

import re
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from studio.env import PREFIX, Env

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?:`(?P<default>[^`]*)`)? *\| (?P<text>.+) \|$")


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    written = {}
    for line in DOCUMENT.read_text().splitlines():
        if match := ROW.match(line):
            written[match["name"]] = (match["default"] or "", match["text"])
    read = {}
    for name, field in Env.model_fields.items():
        default = field.default
        assert not isinstance(default, SecretStr)
        shown = "" if default in (None, PydanticUndefined) else str(default)
        read[field.alias or PREFIX + name.upper()] = (shown, field.description)
    assert written == read
