"""What may be asked for: pure, validated once, frozen. Every rule about a field lives here, once."""

from deployments.specs.deployment import (
    AUTO,
    DEFAULT_INSTANCE_TYPE,
    FIXED,
    DeploymentSpec,
    Probe,
    Probes,
    RequestSettings,
    ScaleSettings,
    deployment_to_json,
    parse_deployment,
)
from deployments.specs.endpoint import EndpointSpec, Traffic, endpoint_to_json, parse_endpoint, parse_traffic
from deployments.specs.environment import (
    PYTHON_VERSIONS,
    Definition,
    EnvironmentSpec,
    normalise_definition,
    parse_environment,
)
from deployments.specs.names import name_error, parse_reference, registry_name_error

__all__ = [
    "AUTO",
    "DEFAULT_INSTANCE_TYPE",
    "FIXED",
    "PYTHON_VERSIONS",
    "Definition",
    "DeploymentSpec",
    "EndpointSpec",
    "EnvironmentSpec",
    "Probe",
    "Probes",
    "RequestSettings",
    "ScaleSettings",
    "Traffic",
    "deployment_to_json",
    "endpoint_to_json",
    "name_error",
    "normalise_definition",
    "parse_deployment",
    "parse_endpoint",
    "parse_environment",
    "parse_reference",
    "parse_traffic",
    "registry_name_error",
]
