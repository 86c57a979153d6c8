"""Rules for workloads, Services, and the data of ConfigMaps and Secrets (pure)."""

import re
from collections.abc import Iterator
from typing import Final

from clusters.embedded import selectors
from clusters.embedded.causes import Cause, duplicate, forbidden, invalid, required, unsupported
from clusters.embedded.resources import Obj
from clusters.embedded.validation.names import check_labels
from clusters.embedded.validation.pods import check_pod_spec, check_port

_DATA_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+$")


def workload(obj: Obj) -> Iterator[Cause]:
    spec = obj["spec"]
    template = spec.get("template") or {}
    replicas = spec.get("replicas", 1)
    if replicas < 0:
        yield invalid("spec.replicas", replicas, "must be greater than or equal to 0")
    labels = (template.get("metadata") or {}).get("labels") or {}
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield invalid("spec.selector", selector, "empty selector is invalid for this kind")
    elif not selectors.from_object(selector).matches(labels):
        why = "`selector` does not match template `labels`"
        yield invalid("spec.template.metadata.labels", labels, why)
    yield from check_labels(labels, "spec.template.metadata.labels")
    yield from check_pod_spec(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def deployment(obj: Obj) -> Iterator[Cause]:
    yield from workload(obj)
    strategy = obj["spec"].get("strategy") or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate") or {}
    if kind not in ("Recreate", "RollingUpdate"):
        yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and rolling:
        yield forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    if rolling and all(rolling.get(k) in (0, "0%") for k in ("maxSurge", "maxUnavailable")):
        why = "may not be 0 when `maxSurge` is 0"
        yield invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why)


def job(obj: Obj) -> Iterator[Cause]:
    spec = obj["spec"]
    template = (spec.get("template") or {}).get("spec") or {}
    yield from check_pod_spec(template, "spec.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        choices = ("OnFailure", "Never")
        field = "spec.template.spec.restartPolicy"
        yield unsupported(field, template.get("restartPolicy"), choices)


def service(obj: Obj) -> Iterator[Cause]:
    spec = obj["spec"]
    kind, choices = spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if kind not in choices:
        yield unsupported("spec.type", kind, choices)
    ports = spec.get("ports") or ()
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    names: set[str] = set()
    for index, port in enumerate(ports):
        field = f"spec.ports[{index}]"
        yield from check_port(port.get("port"), f"{field}.port")
        name = port.get("name", "")
        if not name and len(ports) > 1:
            yield required(f"{field}.name")
        elif name and name in names:
            yield duplicate(f"{field}.name", name)
        names.add(name)
    if kind == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")


def data(obj: Obj) -> Iterator[Cause]:
    for kind in ("data", "binaryData"):
        for key in obj.get(kind) or ():
            if not _DATA_KEY.match(key) or len(key) > 253:
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield invalid(f"{kind}[{key}]", key, why)
    size = sum(len(v) for kind in ("data", "binaryData") for v in (obj.get(kind) or {}).values())
    if size > 1024 * 1024 * 4 // 3:
        message = "Too long: may not be more than 1048576 bytes"
        yield {"reason": "FieldValueTooLong", "message": message, "field": "data"}
