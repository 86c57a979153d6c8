"""The form of an instance type: what a replica asks for, what it may use, where it may be placed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clusters.models import Cluster, InstanceType
from clusters.sizes import Size
from studio.forms import Field, Form, Option, parse_lines, write_lines

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class TypedSize:
    """What was typed, in the services' terms."""

    name: str
    requests: dict[str, str]
    limits: dict[str, str]
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]


def instance_type_form(
    clusters: Iterable[Cluster],
    *,
    values: Mapping[str, str],
    errors: Mapping[str, Sequence[str]] | None = None,
) -> Form:
    choices = tuple(Option(each.name, each.name) for each in clusters)
    fields = (
        Field("name", "Name", hint="What deployments say under instance_type."),
        Field("cluster", "Cluster", "select", options=choices),
        Field("requests.cpu", "CPU asked for", hint="Set aside on the node: 500m is half a core."),
        Field("requests.memory", "Memory asked for", hint="For example 512Mi or 2Gi."),
        Field("limits.cpu", "CPU at most"),
        Field("limits.memory", "Memory at most", hint="A replica that takes more is ended."),
        Field(f"limits.{GPU}", "GPUs", "number", name="gpu", hint="Whole GPUs, set aside for the replica."),
        Field("limits", "Other devices", "textarea", hint="One a line: amd.com/gpu=1", mono=True, rows=2),
        Field("node_selector", "Only on nodes with", "textarea", hint="One label a line: pool=gpu", mono=True, rows=2),
        Field(
            "tolerations",
            "Also on nodes tainted with",
            "textarea",
            hint="One taint a line: dedicated=gpu:NoSchedule, or dedicated:NoSchedule for any value",
            mono=True,
            rows=2,
        ),
    )
    return Form(fields, values=values, errors=errors or {})


def values_of(row: InstanceType | Size) -> dict[str, str]:
    """A size as the form shows it."""
    others = {name: text for name, text in row.limits.items() if name not in ("cpu", "memory", GPU)}
    return {
        "name": row.name,
        "requests.cpu": row.requests.get("cpu", ""),
        "requests.memory": row.requests.get("memory", ""),
        "limits.cpu": row.limits.get("cpu", ""),
        "limits.memory": row.limits.get("memory", ""),
        f"limits.{GPU}": row.limits.get(GPU, ""),
        "limits": write_lines(others),
        "node_selector": write_lines(row.node_selector),
        "tolerations": "\n".join(_write_taint(each) for each in row.tolerations),
    }


def read_size(values: Mapping[str, str]) -> TypedSize:
    """What was typed; whether it makes sense is for clusters.sizes to say."""
    limits = {"cpu": values["limits.cpu"], "memory": values["limits.memory"]}
    limits |= {GPU: values[f"limits.{GPU}"]} if values.get(f"limits.{GPU}") not in (None, "", "0") else {}
    return TypedSize(
        name=values["name"],
        requests={"cpu": values["requests.cpu"], "memory": values["requests.memory"]},
        limits=limits | {name: text or "?" for name, text in parse_lines(values.get("limits", "")).items()},
        node_selector=parse_lines(values.get("node_selector", "")),
        tolerations=[_read_taint(line) for line in values.get("tolerations", "").splitlines() if line.strip()],
    )


def _read_taint(line: str) -> dict[str, Any]:
    """`key=value:Effect`, `key:Effect` or `key`."""
    named, _, effect = line.strip().partition(":")
    key, sign, value = named.partition("=")
    found: dict[str, Any] = {"key": key.strip(), "operator": "Equal" if sign else "Exists"}
    found |= {"value": value.strip()} if sign else {}
    return found | ({"effect": effect.strip()} if effect.strip() else {})


def _write_taint(toleration: Mapping[str, Any]) -> str:
    key, effect = toleration.get("key", ""), toleration.get("effect", "")
    named = key if toleration.get("operator") == "Exists" else f"{key}={toleration.get('value', '')}"
    return f"{named}:{effect}" if effect else str(named)
