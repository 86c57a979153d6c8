"""What things may be called.

Endpoint and deployment names become names of objects in a cluster and parts of addresses: 3 to 32 characters, lower
case, a letter first, letters, digits and single dashes. Azure ML lets upper case through; a cluster would not, so it is
refused here with the name that would do. Single dashes only, because two dashes separate endpoint and deployment.

Models and environments never become objects: letters, digits, dots, dashes and underscores, 1 to 64 characters.
"""

import re
from typing import Final

_NAME: Final = re.compile(r"[a-z](?:-?[a-z0-9])*")
_REGISTRY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REFERENCE: Final = re.compile(r"(?:azureml:)?(?P<name>[^:@\s]+):(?P<version>[1-9][0-9]{0,8})")


def name_error(name: str) -> str:
    """What would be right for the name of an endpoint or deployment; empty when it is right."""
    if not 3 <= len(name) <= 32:
        return "Must be 3 to 32 characters long."
    if name != name.lower():
        return f"Must be lower case, because clusters accept nothing else: {name.lower()}."
    if not name[0].isascii() or not name[0].isalpha():
        return "Must start with a letter."
    if not _NAME.fullmatch(name):
        return "Must be letters, digits and single dashes, without a dash at the end."
    return ""


def registry_name_error(name: str) -> str:
    """What would be right for the name of a model or environment; empty when it is right."""
    if _REGISTRY_NAME.fullmatch(name):
        return ""
    return "Must be 1 to 64 letters, digits, dots, dashes or underscores, with a letter or digit first."


def parse_reference(text: str) -> tuple[str, int] | None:
    """("iris", 3) of "iris:3" or "azureml:iris:3"; None when it is not written like that."""
    match = _REFERENCE.fullmatch(text)
    return (match["name"], int(match["version"])) if match else None
