"""Rules for pods and for the pods of templates (pure)."""

import json
from collections.abc import Iterator
from typing import Any

from clusters.embedded.causes import Cause, duplicate, invalid, required, unsupported
from clusters.embedded.quantities import parse_quantity
from clusters.embedded.resources import Obj
from clusters.embedded.validation.names import LABEL, LABEL_WORDS


def pod(obj: Obj) -> Iterator[Cause]:
    yield from check_pod_spec(obj.get("spec") or {}, "spec")


def check_pod_spec(spec: Obj, field: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{field}.containers")
    names: set[str] = set()
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _container(container, f"{field}.{kind}[{index}]", names, volumes)
    for index, volume in enumerate(spec.get("volumes") or ()):
        if not LABEL.match(volume.get("name", "")):
            yield invalid(f"{field}.volumes[{index}].name", volume.get("name", ""), LABEL_WORDS)
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{field}.restartPolicy", policy, ("Always", "OnFailure", "Never"))


def _container(container: Obj, field: str, names: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield required(f"{field}.name")
    elif not LABEL.match(name) or len(name) > 63:
        yield invalid(f"{field}.name", name, LABEL_WORDS)
    elif name in names:
        yield duplicate(f"{field}.name", name)
    names.add(name)
    if not container.get("image"):
        yield required(f"{field}.image")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            place = f"{field}.volumeMounts[{index}].name"
            message = f"Not found: {json.dumps(mount.get('name'))}"
            yield {"reason": "FieldValueNotFound", "message": message, "field": place}
        if not mount.get("mountPath"):
            yield required(f"{field}.volumeMounts[{index}].mountPath")
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield required(f"{field}.env[{index}].name")
    for index, port in enumerate(container.get("ports") or ()):
        yield from check_port(port.get("containerPort"), f"{field}.ports[{index}].containerPort")
    yield from _resources(container.get("resources") or {}, f"{field}.resources")


def check_port(value: Any, field: str) -> Iterator[Cause]:
    if value is None:
        yield required(field)
    elif isinstance(value, int) and not 0 < value < 65536:
        yield invalid(field, value, "must be between 1 and 65535, inclusive")


def _resources(resources: Obj, field: str) -> Iterator[Cause]:
    amounts: dict[str, dict[str, Any]] = {"limits": {}, "requests": {}}
    for kind, read in amounts.items():
        for name, text in (resources.get(kind) or {}).items():
            try:
                read[name] = parse_quantity(text)
            except ValueError as error:
                yield invalid(f"{field}.{kind}[{name}]", text, str(error))
                continue
            if read[name] < 0:
                yield invalid(f"{field}.{kind}[{name}]", text, "must be greater than or equal to 0")
    for name, amount in amounts["requests"].items():
        if name in amounts["limits"] and amount > amounts["limits"][name]:
            text = resources["requests"][name]
            limit = resources["limits"][name]
            yield invalid(f"{field}.requests", text, f"must be less than or equal to {name} limit of {limit}")
