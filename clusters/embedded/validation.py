"""Rules an object must keep, beyond the types of its fields (pure).

Names and labels for every kind; for the kinds people write by hand, what a real API server refuses and
what our controllers rely on. Causes carry the field's path and the API server's wording.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from clusters.embedded import selectors, validation_rbac
from clusters.embedded.causes import Cause, duplicate, invalid, required, unsupported
from clusters.embedded.errors import Invalid
from clusters.embedded.quantities import parse_quantity
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.schemas import rules as schema_rules
from clusters.embedded.schemas import structural

_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_QUALIFIED: Final = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_LABEL_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_DATA_KEY: Final = re.compile(r"^[-._a-zA-Z0-9]+$")
_LABEL_NAMED: Final = frozenset({"namespaces", "services"})
_FREE_NAMED: Final = re.compile(r"\.rbac\.authorization\.k8s\.io$")
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character"
)
_LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character"
)


def check(resource: Resource, obj: Obj, *, old: Obj | None) -> None:
    """Raises Invalid with every rule that is broken."""
    causes = list(_metadata(resource, obj["metadata"]))
    if resource.schema is not None:
        causes += structural.validate(obj, resource.schema)
    function = _KINDS.get(resource.key)
    if function is not None:
        causes += function(obj)
    if old is not None:
        causes += _changes(resource, old, obj)
    if causes:
        raise Invalid.of(resource, obj["metadata"].get("name", ""), causes)


def _metadata(resource: Resource, metadata: Obj) -> Iterator[Cause]:
    name = metadata["name"]
    if resource.key in _LABEL_NAMED:
        if not _LABEL.match(name) or len(name) > 63:
            yield invalid("metadata.name", name, _LABEL_WORDS)
    elif _FREE_NAMED.search(resource.key):
        if "/" in name or "%" in name or name in (".", ".."):
            yield invalid("metadata.name", name, "may not contain '/' or '%'")
    elif not _SUBDOMAIN.match(name) or len(name) > 253:
        yield invalid("metadata.name", name, _SUBDOMAIN_WORDS)
    yield from _labels(metadata.get("labels"), "metadata.labels")
    for key in metadata.get("annotations") or ():
        if not _QUALIFIED.match(key.lower()):
            yield invalid("metadata.annotations", key, "name part must consist of alphanumeric characters")
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"metadata.ownerReferences[{index}].{field}")


def _labels(labels: dict[str, str] | None, field: str) -> Iterator[Cause]:
    for key, value in (labels or {}).items():
        if not _QUALIFIED.match(key):
            yield invalid(field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'")
        if len(value) > 63:
            yield invalid(field, value, "must be no more than 63 characters")
        elif not _LABEL_VALUE.match(value):
            yield invalid(
                field,
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
                "'.', and must start and end with an alphanumeric character",
            )


def _changes(resource: Resource, old: Obj, new: Obj) -> Iterator[Cause]:
    """Fields that may not change once an object exists."""
    for path in _FIXED.get(resource.key, ()):
        before, after = _at(old, path), _at(new, path)
        if before is not None and before != after:
            why = "cannot change roleRef" if path == ("roleRef",) else "field is immutable"
            yield invalid(".".join(path), after, why)
    yield from _finalizers(old["metadata"], new["metadata"])
    if resource.key == "services":
        before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
        if before and after and before != after:
            yield invalid("spec.clusterIPs[0]", [after], "may not change once set")
    if old.get("immutable") and any(old.get(k) != new.get(k) for k in ("data", "binaryData", "immutable")):
        yield {
            "reason": "FieldValueForbidden",
            "message": "Forbidden: field is immutable when `immutable` is set",
            "field": "data",
        }


def _finalizers(old: Obj, new: Obj) -> Iterator[Cause]:
    added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
    if added and "deletionTimestamp" in old:
        names = ", ".join(json.dumps(name) for name in added)
        why = "no new finalizers can be added if the object is being deleted, found new finalizers"
        message = f"Forbidden: {why} []string{{{names}}}"
        yield {"reason": "FieldValueForbidden", "message": message, "field": "metadata.finalizers"}


def _at(obj: Obj, path: tuple[str, ...]) -> Any:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


_FIXED: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "deployments.apps": (("spec", "selector"),),
    "replicasets.apps": (("spec", "selector"),),
    "statefulsets.apps": (("spec", "selector"), ("spec", "serviceName")),
    "daemonsets.apps": (("spec", "selector"),),
    "jobs.batch": (("spec", "selector"), ("spec", "template"), ("spec", "completionMode")),
    "pods": (("spec", "nodeName"), ("spec", "restartPolicy"), ("spec", "serviceAccountName")),
    "secrets": (("type",),),
    "rolebindings.rbac.authorization.k8s.io": (("roleRef",),),
    "clusterrolebindings.rbac.authorization.k8s.io": (("roleRef",),),
    "storageclasses.storage.k8s.io": (("provisioner",), ("parameters",), ("reclaimPolicy",)),
    "customresourcedefinitions.apiextensions.k8s.io": (("spec", "group"), ("spec", "scope")),
}


def _pod(obj: Obj) -> Iterator[Cause]:
    yield from _pod_spec(obj.get("spec") or {}, "spec")


def _pod_spec(spec: Obj, field: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{field}.containers")
    names: set[str] = set()
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _container(container, f"{field}.{kind}[{index}]", names, volumes)
    for index, volume in enumerate(spec.get("volumes") or ()):
        if not _LABEL.match(volume.get("name", "")):
            yield invalid(f"{field}.volumes[{index}].name", volume.get("name", ""), _LABEL_WORDS)
    policy = spec.get("restartPolicy", "Always")
    if policy not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{field}.restartPolicy", policy, ("Always", "OnFailure", "Never"))


def _container(container: Obj, field: str, names: set[str], volumes: set[Any]) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield required(f"{field}.name")
    elif not _LABEL.match(name) or len(name) > 63:
        yield invalid(f"{field}.name", name, _LABEL_WORDS)
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
        yield from _port(port.get("containerPort"), f"{field}.ports[{index}].containerPort")
    yield from _resources(container.get("resources") or {}, f"{field}.resources")


def _port(value: Any, field: str) -> Iterator[Cause]:
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


def _workload(obj: Obj) -> Iterator[Cause]:
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
    yield from _labels(labels, "spec.template.metadata.labels")
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ("Always",))


def _deployment(obj: Obj) -> Iterator[Cause]:
    yield from _workload(obj)
    strategy = obj["spec"].get("strategy") or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate") or {}
    if kind not in ("Recreate", "RollingUpdate"):
        yield unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate"))
    if kind == "Recreate" and rolling:
        message = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        field = "spec.strategy.rollingUpdate"
        yield {"reason": "FieldValueForbidden", "message": message, "field": field}
    if rolling and all(rolling.get(k) in (0, "0%") for k in ("maxSurge", "maxUnavailable")):
        why = "may not be 0 when `maxSurge` is 0"
        yield invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], why)


def _job(obj: Obj) -> Iterator[Cause]:
    spec = obj["spec"]
    template = (spec.get("template") or {}).get("spec") or {}
    yield from _pod_spec(template, "spec.template.spec")
    if template.get("restartPolicy") not in ("OnFailure", "Never"):
        choices = ("OnFailure", "Never")
        field = "spec.template.spec.restartPolicy"
        yield unsupported(field, template.get("restartPolicy"), choices)


def _service(obj: Obj) -> Iterator[Cause]:
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
        yield from _port(port.get("port"), f"{field}.port")
        name = port.get("name", "")
        if not name and len(ports) > 1:
            yield required(f"{field}.name")
        elif name and name in names:
            yield duplicate(f"{field}.name", name)
        names.add(name)
    if kind == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")


def _data(obj: Obj) -> Iterator[Cause]:
    for kind in ("data", "binaryData"):
        for key in obj.get(kind) or ():
            if not _DATA_KEY.match(key) or len(key) > 253:
                why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield invalid(f"{kind}[{key}]", key, why)
    size = sum(len(v) for kind in ("data", "binaryData") for v in (obj.get(kind) or {}).values())
    if size > 1024 * 1024 * 4 // 3:
        message = "Too long: may not be more than 1048576 bytes"
        yield {"reason": "FieldValueTooLong", "message": message, "field": "data"}


def _definition(obj: Obj) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    for field in ("plural", "kind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    if not spec.get("group"):
        yield required("spec.group")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        yield unsupported("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if obj["metadata"]["name"] != wanted:
        yield invalid("metadata.name", obj["metadata"]["name"], 'must be spec.names.plural+"."+spec.group')
    versions = spec.get("versions") or ()
    if sum(1 for version in versions if version.get("storage")) != 1:
        yield invalid("spec.versions", [], "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if not version.get("name"):
            yield required(f"spec.versions[{index}].name")
    yield from _definition_schemas([(version.get("schema") or {}).get("openAPIV3Schema") for version in versions])


def _definition_schemas(schemas: list[Any]) -> Iterator[Cause]:
    """A schema that all versions share is looked at once, as `spec.validation`, where it was before there were many."""
    shared = None not in schemas and all(schema == schemas[0] for schema in schemas)
    for index, schema in enumerate(schemas[:1] if shared else schemas):
        path = "spec.validation.openAPIV3Schema" if shared else f"spec.versions[{index}].schema.openAPIV3Schema"
        if schema is None:
            yield required(path, "schemas are required")
        elif schema.get("type") != "object":
            yield invalid(f"{path}.type", schema.get("type"), "must be object at the root")
        else:
            yield from schema_rules.check(schema, path)


_KINDS: Final[dict[str, Callable[[Obj], Iterator[Cause]]]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
    "jobs.batch": _job,
    "services": _service,
    "configmaps": _data,
    "secrets": _data,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "roles.rbac.authorization.k8s.io": validation_rbac.role,
    "clusterroles.rbac.authorization.k8s.io": validation_rbac.role,
    "rolebindings.rbac.authorization.k8s.io": validation_rbac.binding,
    "clusterrolebindings.rbac.authorization.k8s.io": validation_rbac.binding,
}
