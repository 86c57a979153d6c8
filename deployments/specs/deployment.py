"""DeploymentSpec: what is asked for, validated once, frozen.

    form | REST body | YAML file  --parse_deployment-->  DeploymentSpec  --to_json-->  the row, the YAML tab

There is one written shape, Azure ML's (v2, Kubernetes online deployment), and `from_json(to_json(spec)) == spec`. Where
defaults differ from Azure ML's: probes begin at once, because a startup probe waits for init(); the longest queue is a
setting of its own; one replica at most grows to 1 as there, so autoscaling starts where somebody asks for it.

The code is an uploaded artifact: `code_configuration.code` holds its digest ("sha256:..."). A YAML file names a folder
there; whoever uploaded that folder gives `code_digest`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from deployments.specs.fields import Fields
from deployments.specs.names import name_error, parse_reference

AUTO: Final = "target_utilization"
FIXED: Final = "default"
DEFAULT_INSTANCE_TYPE: Final = "defaultinstancetype"

_KEYS: Final = (
    "name",
    "endpoint_name",
    "model",
    "environment",
    "code_configuration",
    "instance_type",
    "scale_settings",
    "instance_count",
    "request_settings",
    "environment_variables",
    "tags",
    "liveness_probe",
    "readiness_probe",
    "$schema",  # editors write it; it means nothing here
    "type",
)
_REFUSED: Final = {
    "data_collector": "Slipway does not collect requests and answers yet. Leave it out.",
    "model_mount_path": "The model is always at AZUREML_MODEL_DIR. Leave it out.",
    "resources": "The instance type says what a replica gets. Leave it out, and choose an instance_type.",
    "app_insights_enabled": "Slipway does not send anything to Application Insights. Leave it out.",
}
_SET_BY_SLIPWAY: Final = frozenset(
    {"AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT", "AZUREML_MODEL_DIR", "POD_IP", "PYTHONUNBUFFERED"}
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_MOST_REPLICAS: Final = 1000


@dataclass(frozen=True)
class ScaleSettings:
    """How many replicas. AUTO: between two bounds, the router decides every second. FIXED: `instance_count`."""

    type: str = AUTO
    min_instances: int = 1
    max_instances: int = 1
    target_utilization_percentage: int = 70
    scale_down_delay_seconds: int = 60

    @property
    def automatic(self) -> bool:
        """Whether the router decides."""
        return self.type == AUTO


@dataclass(frozen=True)
class RequestSettings:
    """When a request waits, for how long, and how many at once."""

    request_timeout_ms: int = 5000
    max_concurrent_requests_per_instance: int = 1
    max_queue_wait_ms: int = 500
    max_queue: int | None = None  # None: twice the slots of all replicas, 10 at least


@dataclass(frozen=True)
class Probe:
    """When a replica counts as ready or dead; seconds and counts."""

    initial_delay: int = 0
    period: int = 10
    timeout: int = 2
    success_threshold: int = 1
    failure_threshold: int = 30


READINESS: Final = Probe(period=2, failure_threshold=3)
LIVENESS: Final = Probe()


@dataclass(frozen=True)
class Probes:
    """Both of them; the startup probe is Slipway's own."""

    liveness: Probe = LIVENESS
    readiness: Probe = READINESS


@dataclass(frozen=True)
class DeploymentSpec:
    """One version behind an endpoint, as somebody asked for it."""

    name: str
    endpoint_name: str
    environment: str  # "name:version"
    code_digest: str  # SHA-256, hex, of an Artifact
    scoring_script: str  # path below the code's root
    model: str | None = None  # "name:version"
    instance_type: str = DEFAULT_INSTANCE_TYPE
    scale: ScaleSettings = ScaleSettings()
    instance_count: int | None = None  # only with scale type "default"
    request: RequestSettings = RequestSettings()
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    probes: Probes = Probes()

    @property
    def replicas_at_start(self) -> int:
        """How many replicas the workload is made with. One at least where the router decides: a rollout that starts
        nothing proves nothing; the router takes it back to 0 when nobody calls."""
        return max(1, self.scale.min_instances) if self.scale.automatic else (self.instance_count or 0)

    @property
    def replicas_at_most(self) -> int:
        """How many replicas there can be."""
        return self.scale.max_instances if self.scale.automatic else (self.instance_count or 0)

    @property
    def queue_limit(self) -> int:
        """How many requests may wait in the router, over all replicas."""
        if self.request.max_queue is not None:
            return self.request.max_queue
        return max(10, 2 * self.request.max_concurrent_requests_per_instance * self.replicas_at_most)


def parse_deployment(data: Mapping[str, Any], *, code_digest: str = "") -> DeploymentSpec:
    """The spec of a mapping in Azure ML's shape.

    `code_digest` is the artifact of the folder that `code_configuration.code` names. Raises FieldErrors with every
    wrong field by its path.
    """
    fields = Fields(data)
    fields.only(_KEYS, refused=_REFUSED)
    if fields.text("type", default="kubernetes").lower() != "kubernetes":
        fields.wrong("type", "Must be kubernetes.")
    digest, script = _code(fields.level("code_configuration"), uploaded=code_digest)
    scale, count = _scale(fields)
    spec = DeploymentSpec(
        name=_name(fields, "name", "the deployment"),
        endpoint_name=_name(fields, "endpoint_name", "the endpoint"),
        environment=_reference(fields, "environment", example="forecast-cpu:4") or "",
        code_digest=digest,
        scoring_script=script,
        model=_reference(fields, "model", example="volume-gbm:7"),
        instance_type=fields.text("instance_type", default=DEFAULT_INSTANCE_TYPE),
        scale=scale,
        instance_count=count,
        request=_request(fields.level("request_settings")),
        environment_variables=_variables(fields),
        tags=fields.texts("tags"),
        probes=Probes(
            liveness=_probe(fields.level("liveness_probe"), default=LIVENESS),
            readiness=_probe(fields.level("readiness_probe"), default=READINESS),
        ),
    )
    if not spec.environment and "environment" not in fields.errors:
        fields.wrong("environment", "Must name an environment and its version, as forecast-cpu:4.")
    fields.finish()
    return spec


def _name(fields: Fields, key: str, what: str) -> str:
    name = fields.text(key, required=f"Must be the name of {what}.")
    if name and (error := name_error(name)):
        fields.wrong(key, error)
    return name


def _reference(fields: Fields, key: str, *, example: str) -> str | None:
    text = fields.text(key)
    if not text:
        return None
    parsed = parse_reference(text)
    if parsed is None:
        fields.wrong(key, f"Must be a name and a version, as {example}.")
        return None
    return f"{parsed[0]}:{parsed[1]}"


def _code(level: Fields, *, uploaded: str) -> tuple[str, str]:
    level.only(("code", "scoring_script"))
    script = level.text("scoring_script", required="Must name the file that holds init() and run(), as score.py.")
    path = PurePosixPath(script)
    if script and (path.is_absolute() or ".." in path.parts or path.suffix != ".py" or "\\" in script):
        level.wrong("scoring_script", "Must be a .py file below the code folder, as score.py.")
    code = level.text("code")
    match = _DIGEST.fullmatch(code)
    digest = uploaded or (match[1] if match else "")
    if not digest:
        level.wrong("code", "Must be uploaded: choose the folder or the files of your scoring script.")
    return digest, str(path)


def _scale(fields: Fields) -> tuple[ScaleSettings, int | None]:
    level = fields.level("scale_settings")
    level.only(
        (
            "type",
            "min_instances",
            "max_instances",
            "target_utilization_percentage",
            "scale_down_delay_seconds",
            "polling_interval",
        )
    )
    kind = level.choice("type", choices=(AUTO, FIXED), default=FIXED if fields.has("instance_count") else AUTO)
    if kind == FIXED:
        return ScaleSettings(type=FIXED), _fixed_count(fields, level)
    if fields.has("instance_count"):
        fields.wrong("instance_count", "Must be left out with scale type target_utilization; min_instances says it.")
    if level.integer("polling_interval", default=1, minimum=1, maximum=86_400) != 1:
        level.wrong("polling_interval", "Must be 1 or left out: the router looks every second.")
    return _bounds(level), None


def _fixed_count(fields: Fields, level: Fields) -> int:
    for key in ("min_instances", "max_instances", "target_utilization_percentage", "scale_down_delay_seconds"):
        if level.has(key):
            level.wrong(key, "Must be left out with scale type default; instance_count says how many.")
    return fields.integer("instance_count", default=1, minimum=0, maximum=_MOST_REPLICAS)


def _bounds(level: Fields) -> ScaleSettings:
    fewest = level.integer("min_instances", default=1, minimum=0, maximum=_MOST_REPLICAS)
    most = level.integer("max_instances", default=max(1, fewest), minimum=1, maximum=_MOST_REPLICAS)
    if most < fewest and level.path_of("max_instances") not in level.errors:
        level.wrong("max_instances", f"Must be {fewest:,} or more.")
    return ScaleSettings(
        type=AUTO,
        min_instances=fewest,
        max_instances=most,
        target_utilization_percentage=level.integer(
            "target_utilization_percentage", default=70, minimum=1, maximum=100
        ),
        scale_down_delay_seconds=level.integer("scale_down_delay_seconds", default=60, minimum=1, maximum=86_400),
    )


def _request(level: Fields) -> RequestSettings:
    level.only(("request_timeout_ms", "max_concurrent_requests_per_instance", "max_queue_wait_ms", "max_queue"))
    queue = level.integer("max_queue", default=-1, minimum=0, maximum=100_000)
    return RequestSettings(
        request_timeout_ms=level.integer("request_timeout_ms", default=5000, minimum=1, maximum=300_000),
        max_concurrent_requests_per_instance=level.integer(
            "max_concurrent_requests_per_instance", default=1, minimum=1, maximum=1000
        ),
        max_queue_wait_ms=level.integer("max_queue_wait_ms", default=500, minimum=0, maximum=300_000),
        max_queue=queue if level.has("max_queue") else None,
    )


def _probe(level: Fields, *, default: Probe) -> Probe:
    level.only(("initial_delay", "period", "timeout", "success_threshold", "failure_threshold"))

    def read(key: str, minimum: int) -> int:
        return level.integer(key, default=getattr(default, key), minimum=minimum, maximum=3600)

    return Probe(
        initial_delay=read("initial_delay", 0),
        period=read("period", 1),
        timeout=read("timeout", 1),
        success_threshold=read("success_threshold", 1),
        failure_threshold=read("failure_threshold", 1),
    )


def _variables(fields: Fields) -> dict[str, str]:
    variables = fields.texts("environment_variables")
    level = fields.level("environment_variables")
    for name in variables:
        if name in _SET_BY_SLIPWAY:
            level.wrong(name, f"Must be left out: Slipway sets {name} itself.")
        elif name == "WORKER_COUNT":
            level.wrong(name, "Must be left out: max_concurrent_requests_per_instance says how many run at once.")
        elif not _VARIABLE.fullmatch(name):
            level.wrong(name, "Must be letters, digits and underscores, without a digit first.")
    return variables


def deployment_to_json(spec: DeploymentSpec) -> dict[str, Any]:
    """The spec in the written shape, with every default spelled out; `parse_deployment` reads it back."""
    scale: dict[str, Any] = {"type": spec.scale.type}
    if spec.scale.automatic:
        scale |= {
            "min_instances": spec.scale.min_instances,
            "max_instances": spec.scale.max_instances,
            "target_utilization_percentage": spec.scale.target_utilization_percentage,
            "scale_down_delay_seconds": spec.scale.scale_down_delay_seconds,
        }
    request: dict[str, Any] = {
        "request_timeout_ms": spec.request.request_timeout_ms,
        "max_concurrent_requests_per_instance": spec.request.max_concurrent_requests_per_instance,
        "max_queue_wait_ms": spec.request.max_queue_wait_ms,
    }
    if spec.request.max_queue is not None:
        request["max_queue"] = spec.request.max_queue
    return {
        "name": spec.name,
        "endpoint_name": spec.endpoint_name,
        **({"model": spec.model} if spec.model else {}),
        "environment": spec.environment,
        "code_configuration": {"code": f"sha256:{spec.code_digest}", "scoring_script": spec.scoring_script},
        "instance_type": spec.instance_type,
        "scale_settings": scale,
        **({} if spec.scale.automatic else {"instance_count": spec.instance_count}),
        "request_settings": request,
        "environment_variables": dict(spec.environment_variables),
        "tags": dict(spec.tags),
        "liveness_probe": vars(spec.probes.liveness).copy(),
        "readiness_probe": vars(spec.probes.readiness).copy(),
    }
