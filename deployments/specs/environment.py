"""What an environment is built of, and when two definitions are the same.

The hash is of the normalised definition: comments, blank lines, order and the case of package names do not matter, so
a definition that only looks different finds the image that is already there. The scoring server is added when nobody
named it, because every scoring script needs it.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from deployments.specs.fields import Fields
from deployments.specs.names import registry_name_error

SCORING_SERVER: Final = "azureml-inference-server-http"
SCORING_SERVER_REQUIREMENT: Final = f"{SCORING_SERVER}>=1.5,<2"
PYTHON_VERSIONS: Final = ("3.11", "3.10", "3.12", "3.13")
LONGEST_REQUIREMENTS: Final = 100_000  # characters

_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(.*)")


@dataclass(frozen=True)
class EnvironmentSpec:
    """A definition that is built (requirements) or an image that exists."""

    name: str
    requirements: str = ""
    image: str = ""
    python_version: str = PYTHON_VERSIONS[0]


@dataclass(frozen=True)
class Definition:
    """A normalised definition: the lines that are installed, and whether the scoring server was added to them."""

    lines: tuple[str, ...]
    python_version: str
    server_added: bool

    @property
    def requirements(self) -> str:
        """The requirements file."""
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def hash(self) -> str:
        """SHA-256, hex, of what is built."""
        text = json.dumps({"python": self.python_version, "pip": self.lines}, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def normalise_definition(requirements: str, *, python_version: str) -> Definition:
    """The definition that is really built."""
    lines = {_normalise_line(line) for line in _joined(requirements).splitlines()} - {""}
    added = not any(_package_of(line) == SCORING_SERVER for line in lines)
    if added:
        lines.add(SCORING_SERVER_REQUIREMENT)
    return Definition(lines=tuple(sorted(lines)), python_version=python_version, server_added=added)


def parse_environment(*, name: str, requirements: str, image: str, python_version: str) -> EnvironmentSpec:
    """Check what somebody wants to register. Raises FieldErrors: name, requirements, image, python_version."""
    fields = Fields({"name": name, "requirements": requirements, "image": image, "python_version": python_version})
    read = fields.text("name", required="Must be the name of the environment.")
    if read and (error := registry_name_error(read)):
        fields.wrong("name", error)
    if requirements.strip() and image.strip():
        fields.wrong("image", "Must be left out when there are requirements: an environment is one or the other.")
    if len(requirements) > LONGEST_REQUIREMENTS:
        fields.wrong("requirements", f"Must be {LONGEST_REQUIREMENTS:,} characters or less.")
    for number, line in enumerate(_joined(requirements).splitlines(), start=1):
        if sentence := _line_error(_normalise_line(line)):
            fields.wrong("requirements", f"Line {number}: {sentence}")
    version = fields.choice("python_version", choices=PYTHON_VERSIONS, default=PYTHON_VERSIONS[0])
    if re.search(r"\s", image.strip()):
        fields.wrong("image", "Must be an image reference, as registry.example.org/team/ocr:4.")
    fields.finish()
    return EnvironmentSpec(name=read, requirements=requirements, image=image.strip(), python_version=version)


def _line_error(line: str) -> str:
    """Lines that would read files of the building machine, or install something other than packages."""
    if line.startswith(("-r", "-c", "--requirement", "--constraint")):
        return "Must be a package: write the lines of that file here instead."
    if line.startswith(("-e", "--editable", ".", "/", "file:")):
        return "Must be a package: a local path means nothing where the environment is built."
    if not line or line.startswith("--") or _REQUIREMENT.fullmatch(line):
        return ""
    return "Must be a package, as scikit-learn==1.7.2."


def _joined(requirements: str) -> str:
    return requirements.replace("\r\n", "\n").replace("\\\n", " ")


def _normalise_line(line: str) -> str:
    line = " ".join(_COMMENT.sub("", line).split())
    match = _REQUIREMENT.fullmatch(line)
    if not match or line.startswith("-"):
        return line
    rest = match[2].split(";", 1)
    version = rest[0] if "@" in rest[0] else rest[0].replace(" ", "")
    return _canonical(match[1]) + ";".join([version.rstrip(), *(f" {marker.strip()}" for marker in rest[1:])])


def _package_of(line: str) -> str:
    match = _REQUIREMENT.fullmatch(line)
    return _canonical(match[1]) if match else ""


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
