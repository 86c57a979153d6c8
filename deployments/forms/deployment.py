"""The form of a deployment. Its HTML names are the paths of Azure ML's YAML, so both are read by the same function.

What a browser cannot say in one field is put together here: variables are lines of text, the code is files that were
packed the moment they arrived (a file field forgets them when the form comes back; the digest stays), and of the two
ways to scale the fields of the one not chosen are left out.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from deployments.models import Environment, Model
from deployments.regions.room import SizeChoice
from deployments.specs import AUTO, FIXED, DeploymentSpec, deployment_to_json
from deployments.specs.paths import flatten, nest
from studio.errors import FieldErrors
from studio.forms import Field, Option, parse_lines, write_lines

CODE: Final = "code_configuration.code"
SCRIPT: Final = "code_configuration.scoring_script"
VARIABLES: Final = "environment_variables"
KIND: Final = "scale_settings.type"
_AUTO_ONLY: Final = ("min_instances", "max_instances", "target_utilization_percentage", "scale_down_delay_seconds")
LONGEST_YAML: Final = 100_000  # characters

DEFAULTS: Final[Mapping[str, str]] = {
    SCRIPT: "score.py",
    "instance_type": "defaultinstancetype",
    KIND: AUTO,
    "scale_settings.min_instances": "1",
    "scale_settings.max_instances": "3",
    "scale_settings.target_utilization_percentage": "70",
    "scale_settings.scale_down_delay_seconds": "60",
    "instance_count": "1",
    "request_settings.max_concurrent_requests_per_instance": "1",
    "request_settings.max_queue_wait_ms": "500",
    "request_settings.request_timeout_ms": "5000",
}


_SCALING: Final = (
    Field(
        KIND,
        "How many",
        name="kind",
        kind="radio",
        options=(
            Option(AUTO, "As many as the load takes", "The router decides every second."),
            Option(FIXED, "Always as many", "Nothing changes the number."),
        ),
    ),
    Field("scale_settings.min_instances", "Fewest replicas", name="fewest", kind="number", hint="0 lets it sleep."),
    Field("scale_settings.max_instances", "Most replicas", name="most", kind="number"),
    Field("scale_settings.target_utilization_percentage", "Busy target", name="target", kind="number", unit="%"),
    Field("scale_settings.scale_down_delay_seconds", "Fewer after", name="patience", kind="number", unit="s"),
    Field("instance_count", "Replicas", name="count", kind="number"),
)
_REQUESTS: Final = (
    Field(
        "request_settings.max_concurrent_requests_per_instance",
        "Requests at once",
        name="concurrency",
        kind="number",
        unit="per replica",
    ),
    Field(
        "request_settings.max_queue_wait_ms",
        "Longest wait",
        name="wait",
        kind="number",
        unit="ms",
        hint="Then callers get 429.",
    ),
    Field(
        "request_settings.request_timeout_ms",
        "Time-out",
        name="timeout",
        kind="number",
        unit="ms",
        hint="Then callers get 504.",
    ),
    Field(
        "request_settings.max_queue",
        "Longest queue",
        name="queue",
        kind="number",
        hint="Left empty: twice the slots, 10 at least.",
    ),
)
_TEXTS: Final = (
    Field(
        VARIABLES,
        "Environment variables",
        name="variables",
        kind="textarea",
        mono=True,
        hint="One a line, as NAME=value. They are kept as they are: put no secret here.",
    ),
    Field("tags", "Tags", kind="textarea", rows=2, mono=True, hint="One a line, as team=routing."),
)


def deployment_fields(
    *, models: Iterable[Model], environments: Iterable[Environment], sizes: Iterable[SizeChoice]
) -> tuple[Field, ...]:
    """The fields, with what there is to choose from."""
    named = (Option("", "No model"), *(Option(str(each), str(each)) for each in models))
    made = (Option("", "Choose one"), *(Option(str(each), str(each)) for each in environments))
    types = tuple(Option(each.name, each.name, each.text) for each in sizes)
    return (
        Field("name", "Name", hint="Letters, digits, single dashes; 3 to 32."),
        Field("model", "Model", kind="select", options=named),
        Field("environment", "Environment", kind="select", options=made),
        Field(
            SCRIPT,
            "Scoring script",
            name="script",
            hint="Has init() and run().",
            mono=True,
        ),
        Field(CODE, "Code", name="code", kind="file", multiple=True),
        Field("instance_type", "Instance type", name="size", kind="radio", options=types),
        *_SCALING,
        *_REQUESTS,
        *_TEXTS,
    )


def deployment_mapping(
    values: Mapping[str, str], *, endpoint: str, kept: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `parse_deployment` reads. `kept` are settings this form does not show (probes), as they were."""
    fixed = values.get(KIND) == FIXED
    left_out = {f"scale_settings.{key}" for key in _AUTO_ONLY} if fixed else {"instance_count"}
    typed = {path: value for path, value in values.items() if value and path not in {*left_out, VARIABLES, "tags"}}
    return {
        **(kept or {}),
        **nest(typed),
        "endpoint_name": endpoint,
        "environment_variables": parse_lines(values.get(VARIABLES, "")),
        "tags": parse_lines(values.get("tags", "")),
    }


def kept_settings(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """The probes of a revision: the form does not show them, and does not lose them."""
    return {key: spec[key] for key in ("liveness_probe", "readiness_probe") if spec and key in spec}


def values_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """A written spec as the values of the form."""
    texts = {"environment_variables": write_lines(spec.get(VARIABLES, {})), "tags": write_lines(spec.get("tags", {}))}
    rest = {key: value for key, value in spec.items() if key not in (*texts, "liveness_probe", "readiness_probe")}
    return {**DEFAULTS, **flatten(rest), **texts}


def write_yaml(spec: DeploymentSpec) -> str:
    """The same deployment as a file."""
    return yaml.safe_dump(deployment_to_json(spec), sort_keys=False, allow_unicode=True)


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them can stand for more than the memory of this machine."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="it has an alias, which is not read here")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> dict[str, Any]:
    """The mapping in a YAML text. Raises FieldErrors (yaml)."""
    if len(text) > LONGEST_YAML:
        raise FieldErrors({"yaml": [f"Must be {LONGEST_YAML:,} characters or less."]})
    try:
        data = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that reads even less
        json.dumps(data, ensure_ascii=False, default=str).encode()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = getattr(error, "problem", None) or "it is not YAML"
        raise FieldErrors({"yaml": [f"Must be YAML; {where}{said}."]}) from error
    except (RecursionError, UnicodeEncodeError, TypeError) as error:
        raise FieldErrors({"yaml": ["Must be plain YAML: less nested, and of characters that exist."]}) from error
    if not isinstance(data, dict) or not data:
        raise FieldErrors({"yaml": ["Must hold the settings of a deployment, as name: blue."]})
    return {str(key): value for key, value in data.items()}
