"""Size: what an instance type says, whether it lies in a row, in a cluster or is built in.

`defaultinstancetype` exists without being created, as users of Azure ML expect, and is replaced by creating one of that
name. On the embedded cluster, where replicas are processes on one machine, it asks for less, so that some fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clusters.kube.kinds import Obj
from clusters.quantities import QuantityError, amount, parse_quantity
from routerd import contract
from studio.errors import FieldErrors

DEFAULT_NAME = "defaultinstancetype"
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_LABEL_KEY = re.compile(r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
_REQUIRED = ("cpu", "memory")
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Size:
    """Requests and limits as Kubernetes quantities; where a replica of this size may be placed."""

    name: str
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    built_in: bool = False


def default_size(runtime: str) -> Size:
    """The size of deployments that name none."""
    if runtime == contract.RUNTIME_PROCESS:
        requests, limits = {"cpu": "100m", "memory": "256Mi"}, {"cpu": "2", "memory": "2Gi"}
    else:
        requests, limits = {"cpu": "100m", "memory": "2Gi"}, {"cpu": "2", "memory": "2Gi"}
    return Size(name=DEFAULT_NAME, requests=requests, limits=limits, built_in=True)


def asked_for(size: Size) -> dict[str, int]:
    """What the scheduler sets aside for one replica (clusters.quantities units): a limit without request counts."""
    return {name: amount(name, text) for name, text in {**size.limits, **size.requests}.items()}


def instance_type_object(size: Size, *, studio: str) -> Obj:
    """The InstanceType custom resource of a size."""
    spec: Obj = {"resources": {"requests": dict(size.requests), "limits": dict(size.limits)}}
    if size.node_selector:
        spec["nodeSelector"] = dict(size.node_selector)
    if size.tolerations:
        spec["tolerations"] = [dict(each) for each in size.tolerations]
    labels = {contract.MANAGED_BY: contract.MANAGED_BY_SLIPWAY, contract.STUDIO: studio}
    return {
        "apiVersion": contract.API_VERSION,
        "kind": "InstanceType",
        "metadata": {"name": size.name, "labels": labels},
        "spec": spec,
    }


def check_size(
    *,
    name: str,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    node_selector: Mapping[str, str] | None = None,
    tolerations: tuple[Mapping[str, Any], ...] = (),
) -> Size:
    """A Size that Kubernetes will take. Raises FieldErrors with paths such as `limits.memory`."""
    errors: dict[str, list[str]] = {}
    if not _NAME.match(name):
        errors["name"] = ["Must be 1 to 63 lower-case letters, digits or dashes, with a letter or digit at both ends."]
    requests = {key: text.strip() for key, text in requests.items() if text.strip()}
    limits = {key: text.strip() for key, text in limits.items() if text.strip()}
    _check_quantities("requests", requests, errors=errors)
    _check_quantities("limits", limits, errors=errors)
    if not errors:
        _check_against_limits(requests, limits, errors=errors)
    _check_selector(node_selector or {}, errors=errors)
    _check_tolerations(tolerations, errors=errors)
    if errors:
        raise FieldErrors(errors)
    return Size(
        name=name,
        requests=requests,
        limits=limits,
        node_selector=dict(node_selector or {}),
        tolerations=tuple(tolerations),
    )


def _check_quantities(side: str, given: Mapping[str, str], *, errors: dict[str, list[str]]) -> None:
    for required in _REQUIRED:
        if required not in given:
            example = "500m or 2" if required == "cpu" else "512Mi or 2Gi"
            errors[f"{side}.{required}"] = [f"Must be given, for example {example}."]
    for resource, text in given.items():
        problem = _quantity_problem(side, resource, text)
        if problem:
            errors[f"{side}.{resource}"] = [problem]


def _quantity_problem(side: str, resource: str, text: str) -> str:
    try:
        value = parse_quantity(text)
    except QuantityError:
        return "Must be a quantity such as 500m, 2 or 2Gi."
    if resource == "memory" and text.endswith("m"):
        return "The m stands for thousandths of a byte. Must be a size such as 512Mi."
    if "/" in resource:
        if side == "requests":
            return "Must be given as a limit only; what is asked for follows from it."
        return "" if value > 0 and value == int(value) else "Must be a whole number of 1 or more."
    if resource not in ("cpu", "memory", "ephemeral-storage"):
        return "Must be cpu, memory, ephemeral-storage or a device's full name such as nvidia.com/gpu."
    return "" if value > 0 else "Must be more than 0."


def _check_against_limits(
    requests: Mapping[str, str], limits: Mapping[str, str], *, errors: dict[str, list[str]]
) -> None:
    for resource, text in requests.items():
        limit = limits.get(resource)
        if limit is not None and parse_quantity(text) > parse_quantity(limit):
            errors[f"requests.{resource}"] = [f"Must be at most the limit, {limit}."]


def _check_selector(selector: Mapping[str, str], *, errors: dict[str, list[str]]) -> None:
    for key, value in selector.items():
        if not _LABEL_KEY.match(key) or not _LABEL_VALUE.match(value):
            errors["node_selector"] = [f"{key}={value} must be a node label such as pool=gpu."]


def _check_tolerations(tolerations: tuple[Mapping[str, Any], ...], *, errors: dict[str, list[str]]) -> None:
    for each in tolerations:
        key, effect = str(each.get("key", "")), str(each.get("effect", ""))
        operator = each.get("operator", "Equal")
        fits = operator == "Exists" or (operator == "Equal" and bool(_LABEL_KEY.match(key)))
        if not fits or effect not in _EFFECTS:
            errors["tolerations"] = ["Must be taints such as dedicated=gpu:NoSchedule, one a line."]
