"""A container's environment variables and command, as a kubelet works them out (pure).

    envFrom (in order) -> env (in order, later wins) -> $(VAR) in values, command and args

A reference that cannot be resolved stops the container from being made (CreateContainerConfigError) with the
kubelet's own sentence.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Protocol

from clusters.embedded.quantities import parse_quantity
from clusters.embedded.resources import Obj

_REFERENCE: Final = re.compile(r"\$\$|\$\(([A-Za-z_.\-][A-Za-z0-9_.\-]*)\)")
_SUBSCRIPT: Final = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")
_BIG: Final = Decimal(2**63 - 1)


class ConfigError(Exception):
    """The container's configuration refers to something that is not there."""


class Sources(Protocol):
    """Where references are looked up."""

    def config_map(self, namespace: str, name: str) -> Obj | None: ...

    def secret(self, namespace: str, name: str) -> Obj | None: ...


@dataclass(frozen=True)
class PodFacts:
    """What a pod knows of itself. ``allocatable`` stands in for limits that are not set."""

    pod: Obj
    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; an unknown name stays as it is, ``$$`` is one dollar."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] is None else variables.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def container_environment(
    container: Obj, *, facts: PodFacts, sources: Sources, base: Mapping[str, str]
) -> dict[str, str]:
    """Image's and cluster's variables, then the container's own. Raises ConfigError."""
    result = dict(base)
    for source in container.get("envFrom") or ():
        result |= _from_source(source, namespace=facts.namespace, sources=sources)
    for entry in container.get("env") or ():
        value = _entry_value(entry, container=container, facts=facts, sources=sources, known=result)
        if value is not None:
            result[entry["name"]] = value
    return result


def container_command(container: Obj, *, variables: Mapping[str, str]) -> list[str]:
    """``command`` and ``args``, expanded. An image here has no command of its own."""
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return [expand(str(word), variables) for word in words]


def _from_source(source: Obj, *, namespace: str, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    if reference := source.get("configMapRef"):
        found = sources.config_map(namespace, reference["name"])
        values = None if found is None else dict(found.get("data") or {})
        missing = f'configmap "{reference["name"]}" not found'
    else:
        reference = source.get("secretRef") or {}
        found = sources.secret(namespace, reference.get("name", ""))
        values = None if found is None else {key: _decoded(value) for key, value in (found.get("data") or {}).items()}
        missing = f'secret "{reference.get("name", "")}" not found'
    if values is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(missing)
    return {prefix + key: str(value) for key, value in values.items()}


def _entry_value(
    entry: Obj, *, container: Obj, facts: PodFacts, sources: Sources, known: Mapping[str, str]
) -> str | None:
    """None leaves the variable out (an optional reference)."""
    origin = entry.get("valueFrom")
    if not origin:
        return expand(str(entry.get("value") or ""), known)
    if reference := origin.get("fieldRef"):
        return field_value(reference.get("fieldPath", ""), facts=facts)
    if reference := origin.get("resourceFieldRef"):
        return resource_value(reference, container=container, facts=facts)
    if reference := origin.get("configMapKeyRef"):
        found = sources.config_map(facts.namespace, reference["name"])
        return _key_of(found, reference, kind="configmap", title="ConfigMap", namespace=facts.namespace)
    if reference := origin.get("secretKeyRef"):
        found = sources.secret(facts.namespace, reference["name"])
        return _key_of(found, reference, kind="secret", title="Secret", namespace=facts.namespace)
    raise ConfigError(f"env {entry['name']}: valueFrom names no source")


def _key_of(found: Obj | None, reference: Obj, *, kind: str, title: str, namespace: str) -> str | None:
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    data = found.get("data") or {}
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {reference['key']} in {title} {namespace}/{reference['name']}")
    value = str(data[reference["key"]])
    return _decoded(value) if kind == "secret" else value


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode(errors="surrogateescape")


def field_value(path: str, *, facts: PodFacts) -> str:
    """A downward-API field. Raises ConfigError for one that is not supported."""
    metadata, spec = facts.pod["metadata"], facts.pod["spec"]
    if match := _SUBSCRIPT.match(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "metadata.labels": _as_lines(metadata.get("labels")),
        "metadata.annotations": _as_lines(metadata.get("annotations")),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def _as_lines(values: Mapping[str, str] | None) -> str:
    return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted((values or {}).items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(reference: Obj, *, container: Obj, facts: PodFacts) -> str:
    """``limits.cpu`` and the like in units of the divisor, rounded up."""
    named = reference.get("containerName")
    if named:
        everyone = [*facts.pod["spec"]["containers"], *(facts.pod["spec"].get("initContainers") or ())]
        container = next((item for item in everyone if item["name"] == named), container)
    kind, _, name = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    value = (resources.get(kind) or {}).get(name)
    if value is None and kind == "requests":
        value = (resources.get("limits") or {}).get(name, 0)
    if value is None:
        value = facts.allocatable.get(name, 0)
    divisor = parse_quantity(reference.get("divisor") or 1) or Decimal(1)
    amount = min(parse_quantity(value) / divisor, _BIG)
    return str(int(amount.to_integral_value(rounding=ROUND_CEILING)))
