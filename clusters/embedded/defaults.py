"""Defaults of the built-in kinds, as the API server fills them in (pure).

One function per kind, in place, each leaving alone what was said. Zero ports and empty strings count
as unsaid, as in Go. Custom resources get the defaults of their schema.
"""

import base64
from collections.abc import Callable
from typing import Any, Final

from clusters.embedded.quantities import qos_class
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.schemas import structural


def apply_defaults(resource: Resource, obj: Obj) -> None:
    """Fill in, in place, what was left out."""
    if resource.schema is not None:
        structural.fill_defaults(obj, resource.schema)
        return
    function = _KINDS.get(resource.key)
    if function is not None:
        function(obj)


def _fill(obj: Obj, **values: Any) -> None:
    for name, value in values.items():
        if obj.get(name) is None:
            obj[name] = value


def _pod(obj: Obj) -> None:
    pod_spec(obj.setdefault("spec", {}))
    spec = obj["spec"]
    _fill(spec, serviceAccountName="default", enableServiceLinks=True)
    spec["serviceAccount"] = spec["serviceAccountName"]
    if "preemptionPolicy" not in spec:
        spec["preemptionPolicy"] = "PreemptLowerPriority"
    _fill(spec, priority=0)
    _fill(obj, status={"phase": "Pending", "qosClass": qos_class(spec)})
    for container in _containers(spec):
        _requests_from_limits(container)


def pod_spec(spec: Obj) -> None:
    """Defaults of a pod's spec, also inside templates."""
    _fill(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
        securityContext={},
    )
    if spec.get("serviceAccountName"):
        _fill(spec, serviceAccount=spec["serviceAccountName"])
    for container in _containers(spec):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _containers(spec: Obj) -> list[Obj]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _container(container: Obj) -> None:
    image = container.get("image", "")
    tagless = ":" not in image.rsplit("/", 1)[-1]
    latest = image.endswith(":latest") or (tagless and "@" not in image)
    _fill(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if latest else "IfNotPresent",
    )
    for port in container.get("ports") or ():
        _fill(port, protocol="TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _fill(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            _fill(hook["httpGet"], path="/", scheme="HTTP")


def _probe(probe: Obj) -> None:
    _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if probe.get("httpGet"):
        _fill(probe["httpGet"], path="/", scheme="HTTP")
    if probe.get("grpc"):
        _fill(probe["grpc"], service="")


def _volume(volume: Obj) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if volume.get(kind) is not None:
            _fill(volume[kind], defaultMode=0o644)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("serviceAccountToken"):
            _fill(source["serviceAccountToken"], expirationSeconds=3600)
    if volume.get("hostPath") is not None:
        _fill(volume["hostPath"], type="")


def _requests_from_limits(container: Obj) -> None:
    resources = container.get("resources") or {}
    for name, amount in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)


def _template(obj: Obj) -> Obj:
    spec: Obj = obj.setdefault("spec", {})
    template = spec.setdefault("template", {})
    pod_spec(template.setdefault("spec", {}))
    return spec


def _deployment(obj: Obj) -> None:
    spec = _template(obj)
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    _fill(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _fill(spec["strategy"], rollingUpdate={})
        _fill(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _fill(obj, status={})


def _replica_set(obj: Obj) -> None:
    _fill(_template(obj), replicas=1)
    _fill(obj, status={"replicas": 0})


def _job(obj: Obj) -> None:
    spec = _template(obj)
    _fill(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    if spec["parallelism"] == 1:
        _fill(spec, completions=1)
    _fill(spec, podReplacementPolicy="TerminatingOrFailed")
    if not spec.get("manualSelector") and "uid" in obj["metadata"]:
        _job_selector(obj["metadata"], spec)
    _fill(obj, status={})


def _job_selector(metadata: Obj, spec: Obj) -> None:
    uid = metadata["uid"]
    _fill(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("batch.kubernetes.io/", ""):
        labels.setdefault(f"{prefix}controller-uid", uid)
        labels.setdefault(f"{prefix}job-name", metadata["name"])


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _fill(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _fill(spec, allocateLoadBalancerNodePorts=True)
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0) and "port" in port:
            port["targetPort"] = port["port"]
    _fill(obj, status={"loadBalancer": {}})


def _secret(obj: Obj) -> None:
    _fill(obj, type="Opaque")
    for name, text in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _namespace(obj: Obj) -> None:
    labels = obj["metadata"].setdefault("labels", {})
    labels.setdefault("kubernetes.io/metadata.name", obj["metadata"].get("name", ""))
    spec = obj.setdefault("spec", {})
    if "deletionTimestamp" not in obj["metadata"]:
        _fill(spec, finalizers=["kubernetes"])
    _fill(obj, status={"phase": "Active"})


def _node(obj: Obj) -> None:
    _fill(obj, status={})
    _fill(obj, spec={})


def _claim(obj: Obj) -> None:
    _fill(obj.setdefault("spec", {}), volumeMode="Filesystem")
    _fill(obj, status={"phase": "Pending"})


def _endpoint_slice(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        _fill(port, name="", protocol="TCP")


def _policy(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    types = ["Ingress"] + (["Egress"] if "egress" in spec else [])
    _fill(spec, policyTypes=types)
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _fill(port, protocol="TCP")


def _storage_class(obj: Obj) -> None:
    _fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _autoscaler(obj: Obj) -> None:
    _fill(obj.setdefault("spec", {}), minReplicas=1)


def _role_reference(obj: Obj) -> None:
    reference = obj.get("roleRef")
    if reference:
        _fill(reference, apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup="rbac.authorization.k8s.io")


def _definition(obj: Obj) -> None:
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    if names.get("kind"):
        _fill(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")
    _fill(spec, conversion={"strategy": "None"})


_KINDS: Final[dict[str, Callable[[Obj], None]]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "jobs.batch": _job,
    "services": _service,
    "secrets": _secret,
    "namespaces": _namespace,
    "nodes": _node,
    "persistentvolumeclaims": _claim,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "networkpolicies.networking.k8s.io": _policy,
    "storageclasses.storage.k8s.io": _storage_class,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "rolebindings.rbac.authorization.k8s.io": _role_reference,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_reference,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
}
