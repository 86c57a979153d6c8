"""The forms that register a model or an environment."""

from collections.abc import Mapping

from deployments.specs import PYTHON_VERSIONS
from studio.forms import Field, Option

MODEL_FIELDS = (
    Field("name", "Name", hint="A name that is there already gets its next version."),
    Field(
        "files",
        "Files",
        hint="One file or more, up to 20 GiB together. A folder is kept as it is.",
        kind="file",
        multiple=True,
    ),
    Field("description", "Description", kind="textarea", rows=2),
    Field("tags", "Tags", kind="textarea", rows=2, mono=True, hint="One a line, as framework=sklearn."),
)

ENVIRONMENT_FIELDS = (
    Field("name", "Name", hint="A name that is there already gets its next version."),
    Field(
        "kind",
        "Made from",
        kind="radio",
        options=(
            Option("requirements", "Packages", "Slipway builds it once, and keeps it by its hash."),
            Option("image", "An image of your own", "It has the scoring server in it, or is a server itself."),
        ),
    ),
    Field(
        "requirements",
        "Packages",
        kind="textarea",
        rows=8,
        mono=True,
        hint="As in requirements.txt. The scoring server is added when it is not named.",
    ),
    Field(
        "python_version",
        "Python",
        kind="select",
        options=tuple(Option(version, version) for version in PYTHON_VERSIONS),
    ),
    Field("image", "Image", mono=True, hint="As registry.example.org/team/scoring:4."),
    Field("description", "Description", kind="textarea", rows=2),
)


def environment_arguments(values: Mapping[str, str]) -> dict[str, str]:
    """What `register_environment` takes: the half of the form that was not chosen is left out."""
    by_image = values.get("kind") == "image"
    return {
        "name": values.get("name", ""),
        "requirements": "" if by_image else values.get("requirements", ""),
        "image": values.get("image", "") if by_image else "",
        "python_version": values.get("python_version", "") or PYTHON_VERSIONS[0],
    }
