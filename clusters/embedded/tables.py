"""kubectl's columns: the cells of a Table row for the usual kinds and for custom resources (pure).

A kind is a line in `_KINDS`: its columns (a trailing `*` marks those of `-o wide`) and the function
giving the cells. Kinds without a line show NAME and AGE, or the columns of their definition.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from clusters.embedded import jsonpath, tables_certificates, tables_pods
from clusters.embedded.resources import Obj, Resource
from clusters.embedded.selectors import to_text
from clusters.embedded.tables_age import age, duration

Cells = Callable[[Obj, datetime], list[Any]]

_NONE: Final = "<none>"


def columns(resource: Resource) -> list[Obj]:
    """The columnDefinitions of a Table."""
    if resource.columns:
        return [_column("Name", 0), *(_custom_column(column) for column in resource.columns)]
    names, _ = _KINDS.get(resource.key, _DEFAULT)
    return [_column(name.rstrip("*"), int(name.endswith("*"))) for name in names.split(",")]


def cells(resource: Resource, obj: Obj, *, now: datetime) -> list[Any]:
    """One row."""
    if resource.columns:
        row = [_custom_cell(obj, column, now) for column in resource.columns]
        return [obj["metadata"]["name"], *row]
    names, function = _KINDS.get(resource.key, _DEFAULT)
    row = function(obj, now)
    name = obj["metadata"]["name"]
    return [name, *row] if names.startswith("Name,") else [*row, name]


def _column(name: str, priority: int) -> Obj:
    return {
        "name": name,
        "type": "string",
        "format": "name" if name == "Name" else "",
        "description": "",
        "priority": priority,
    }


def _custom_column(column: Obj) -> Obj:
    return {
        "name": column["name"],
        "type": column["type"],
        "format": column.get("format", ""),
        "description": column.get("description", ""),
        "priority": column.get("priority", 0),
    }


def _custom_cell(obj: Obj, column: Obj, now: datetime) -> Any:
    found = jsonpath.find(obj, column["jsonPath"])
    if not found:
        return None
    if column["type"] == "date":
        return age(str(found[0]), now)
    if column["type"] in ("integer", "number", "boolean"):
        return found[0]
    return ",".join(jsonpath.text(value) for value in found)


def _age(obj: Obj, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _spec(obj: Obj) -> Obj:
    return obj.get("spec") or {}


def _status(obj: Obj) -> Obj:
    return obj.get("status") or {}


def _only_age(obj: Obj, now: datetime) -> list[Any]:
    return [_age(obj, now)]


def _images(template: Obj) -> list[str]:
    containers = (template.get("spec") or {}).get("containers") or []
    names = ",".join(c["name"] for c in containers)
    return [names, ",".join(c.get("image", "") for c in containers)]


def _deployment(obj: Obj, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    wide = [*_images(spec.get("template", {})), to_text(spec.get("selector"))]
    return [ready, *counts, _age(obj, now), *wide]


def _replica_set(obj: Obj, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    counts = [spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    wide = [*_images(spec.get("template", {})), to_text(spec.get("selector"))]
    return [*counts, _age(obj, now), *wide]


def _stateful_set(obj: Obj, now: datetime) -> list[Any]:
    spec = _spec(obj)
    ready = f"{_status(obj).get('readyReplicas', 0)}/{spec.get('replicas', 1)}"
    return [ready, _age(obj, now), *_images(spec.get("template", {}))]


def _daemon_set(obj: Obj, now: datetime) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    names = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady"]
    names += ["updatedNumberScheduled", "numberAvailable"]
    chosen = (spec.get("template", {}).get("spec") or {}).get("nodeSelector") or {}
    selector = ",".join(f"{k}={v}" for k, v in chosen.items()) or _NONE
    wide = [*_images(spec.get("template", {})), to_text(spec.get("selector"))]
    return [*(status.get(name, 0) for name in names), selector, _age(obj, now), *wide]


def _job(obj: Obj, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    done = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
    state = "Complete" if "Complete" in done else "Failed" if "Failed" in done else "Running"
    start, end = status.get("startTime"), status.get("completionTime")
    lasted = ""
    if start:
        lasted = duration(start, end) if end else age(start, now)
    completions = f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}"
    wide = [*_images(spec.get("template", {})), to_text(spec.get("selector"))]
    return [state, completions, lasted, _age(obj, now), *wide]


def _cron_job(obj: Obj, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    last = status.get("lastScheduleTime")
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    return [
        spec.get("schedule", ""),
        spec.get("timeZone", _NONE),
        str(bool(spec.get("suspend"))),
        len(status.get("active") or ()),
        age(last, now) if last else _NONE,
        _age(obj, now),
        *_images(template),
        to_text(((spec.get("jobTemplate") or {}).get("spec") or {}).get("selector")) or _NONE,
    ]


def _service(obj: Obj, now: datetime) -> list[Any]:
    spec = _spec(obj)
    ports = [
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
        for p in spec.get("ports") or ()
    ]
    selector = ",".join(f"{k}={v}" for k, v in (spec.get("selector") or {}).items())
    address = spec.get("clusterIP") or _NONE
    return [
        spec.get("type", "ClusterIP"),
        address,
        _external_address(spec, _status(obj)),
        ",".join(ports) or _NONE,
        _age(obj, now),
        selector or _NONE,
    ]


def _external_address(spec: Obj, status: Obj) -> str:
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    found = [entry.get("ip") or entry.get("hostname", "") for entry in ingress]
    found += spec.get("externalIPs") or []
    return ",".join(found) or ("<pending>" if spec.get("type") == "LoadBalancer" else _NONE)


def _endpoints(obj: Obj, now: datetime) -> list[Any]:
    pairs = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    return [_few(pairs), _age(obj, now)]


def _endpoint_slice(obj: Obj, now: datetime) -> list[Any]:
    ports = ",".join(str(p.get("port", "*")) for p in obj.get("ports") or ()) or "<unset>"
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [obj.get("addressType", ""), ports, _few(addresses) if addresses else "<unset>", _age(obj, now)]


def _few(words: list[str]) -> str:
    if not words:
        return _NONE
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return ",".join(words[:3]) + more


def _node(obj: Obj, now: datetime) -> list[Any]:
    status, labels = _status(obj), obj["metadata"].get("labels") or {}
    ready = next((c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"), None)
    state = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    if _spec(obj).get("unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(prefix) for k in labels if k.startswith(prefix)))
    info = status.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in status.get("addresses", ())}
    return [
        state,
        roles or _NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage", "<unknown>"),
        info.get("kernelVersion", "<unknown>"),
        info.get("containerRuntimeVersion", "<unknown>"),
    ]


def _namespace(obj: Obj, now: datetime) -> list[Any]:
    return [_status(obj).get("phase", "Active"), _age(obj, now)]


def _config_map(obj: Obj, now: datetime) -> list[Any]:
    return [len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def _secret(obj: Obj, now: datetime) -> list[Any]:
    return [obj.get("type", "Opaque"), len(obj.get("data") or ()), _age(obj, now)]


def _service_account(obj: Obj, now: datetime) -> list[Any]:
    return [len(obj.get("secrets") or ()), _age(obj, now)]


def _event(obj: Obj, now: datetime) -> list[Any]:
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    last = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    first = obj.get("firstTimestamp") or last
    words = f"{source.get('component', '')}{', ' + source['host'] if source.get('host') else ''}"
    return [
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        words or obj.get("reportingComponent", ""),
        (obj.get("message") or "").strip(),
        age(first, now),
        obj.get("count", 1),
    ]


def _claim(obj: Obj, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    bound = bool(spec.get("volumeName"))
    modes = ",".join(short.get(m, m) for m in status.get("accessModes") or ()) if bound else ""
    capacity = (status.get("capacity") or {}).get("storage", "") if bound else ""
    return [
        "Terminating" if "deletionTimestamp" in obj["metadata"] else status.get("phase", "Pending"),
        spec.get("volumeName", ""),
        capacity,
        modes,
        spec.get("storageClassName", ""),
        "<unset>",
        _age(obj, now),
        spec.get("volumeMode", "Filesystem"),
    ]


def _storage_class(obj: Obj, now: datetime) -> list[Any]:
    return [
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        str(bool(obj.get("allowVolumeExpansion"))).lower(),
        _age(obj, now),
    ]


def _budget(obj: Obj, now: datetime) -> list[Any]:
    spec = _spec(obj)
    allowed = _status(obj).get("disruptionsAllowed", 0)
    return [spec.get("minAvailable", "N/A"), spec.get("maxUnavailable", "N/A"), allowed, _age(obj, now)]


def _policy(obj: Obj, now: datetime) -> list[Any]:
    return [to_text(_spec(obj).get("podSelector")) or _NONE, _age(obj, now)]


def _ingress(obj: Obj, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    address = _external_address({}, _status(obj))
    ports = "80, 443" if spec.get("tls") else "80"
    shown = "" if address == _NONE else address
    return [spec.get("ingressClassName", _NONE), ",".join(hosts) or "*", shown, ports, _age(obj, now)]


def _lease(obj: Obj, now: datetime) -> list[Any]:
    return [_spec(obj).get("holderIdentity", ""), _age(obj, now)]


def _definition(obj: Obj, _now: datetime) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp", "")]


def _role(obj: Obj, _now: datetime) -> list[Any]:
    return [obj["metadata"].get("creationTimestamp", "")]


def _binding(obj: Obj, now: datetime) -> list[Any]:
    reference, subjects = obj.get("roleRef") or {}, obj.get("subjects") or ()
    kinds = {kind: ", ".join(s["name"] for s in subjects if s["kind"] == kind) for kind in ("User", "Group")}
    accounts = ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in subjects if s["kind"] == "ServiceAccount")
    role = f"{reference.get('kind')}/{reference.get('name')}"
    return [role, _age(obj, now), kinds["User"], kinds["Group"], accounts]


def _quota(obj: Obj, now: datetime) -> list[Any]:
    status = _status(obj)
    hard, used = status.get("hard") or _spec(obj).get("hard") or {}, status.get("used") or {}
    told = [(name, f"{name}: {used.get(name, 0)}/{hard[name]}") for name in sorted(hard)]
    limits = ", ".join(text for name, text in told if name.startswith("limits."))
    requests = ", ".join(text for name, text in told if not name.startswith("limits."))
    return [requests, limits, _age(obj, now)]


def _priority_class(obj: Obj, now: datetime) -> list[Any]:
    default = str(bool(obj.get("globalDefault"))).lower()
    preemption = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return [obj.get("value", 0), default, _age(obj, now), preemption]


def _autoscaler(obj: Obj, now: datetime) -> list[Any]:
    spec, target = _spec(obj), _spec(obj).get("scaleTargetRef") or {}
    shown = []
    for metric in spec.get("metrics") or ():
        aim = (metric.get("resource") or {}).get("target") or {}
        shown.append(f"<unknown>/{aim.get('averageUtilization', '?')}%")
    low, high = spec.get("minReplicas", "<unset>"), spec.get("maxReplicas", 0)
    current = _status(obj).get("currentReplicas", 0)
    reference = f"{target.get('kind')}/{target.get('name')}"
    return [reference, ", ".join(shown) or "<unknown>", low, high, current, _age(obj, now)]


_WORKLOAD: Final = "Age,Containers*,Images*,Selector*"
_NODE_WIDE: Final = "Internal-IP*,External-IP*,OS-Image*,Kernel-Version*,Container-Runtime*"
_DEFAULT: Final[tuple[str, Cells]] = ("Name,Age", _only_age)
_KINDS: Final[dict[str, tuple[str, Cells]]] = {
    "pods": (
        "Name,Ready,Status,Restarts,Age,IP*,Node*,Nominated Node*,Readiness Gates*",
        tables_pods.cells,
    ),
    "deployments.apps": (f"Name,Ready,Up-to-date,Available,{_WORKLOAD}", _deployment),
    "replicasets.apps": (f"Name,Desired,Current,Ready,{_WORKLOAD}", _replica_set),
    "statefulsets.apps": ("Name,Ready,Age,Containers*,Images*", _stateful_set),
    "daemonsets.apps": (
        f"Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,{_WORKLOAD}",
        _daemon_set,
    ),
    "jobs.batch": (f"Name,Status,Completions,Duration,{_WORKLOAD}", _job),
    "cronjobs.batch": (f"Name,Schedule,Timezone,Suspend,Active,Last Schedule,{_WORKLOAD}", _cron_job),
    "services": ("Name,Type,Cluster-IP,External-IP,Port(s),Age,Selector*", _service),
    "endpoints": ("Name,Endpoints,Age", _endpoints),
    "endpointslices.discovery.k8s.io": ("Name,AddressType,Ports,Endpoints,Age", _endpoint_slice),
    "certificatesigningrequests.certificates.k8s.io": (tables_certificates.COLUMNS, tables_certificates.cells),
    "nodes": (
        "Name,Status,Roles,Age,Version," + _NODE_WIDE,
        _node,
    ),
    "namespaces": ("Name,Status,Age", _namespace),
    "configmaps": ("Name,Data,Age", _config_map),
    "secrets": ("Name,Type,Data,Age", _secret),
    "serviceaccounts": ("Name,Secrets,Age", _service_account),
    "persistentvolumeclaims": (
        "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age,VolumeMode*",
        _claim,
    ),
    "storageclasses.storage.k8s.io": (
        "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
        _storage_class,
    ),
    "poddisruptionbudgets.policy": (
        "Name,Min Available,Max Unavailable,Allowed Disruptions,Age",
        _budget,
    ),
    "networkpolicies.networking.k8s.io": ("Name,Pod-Selector,Age", _policy),
    "ingresses.networking.k8s.io": ("Name,Class,Hosts,Address,Ports,Age", _ingress),
    "leases.coordination.k8s.io": ("Name,Holder,Age", _lease),
    "customresourcedefinitions.apiextensions.k8s.io": ("Name,Created At", _definition),
    "roles.rbac.authorization.k8s.io": ("Name,Created At", _role),
    "clusterroles.rbac.authorization.k8s.io": ("Name,Created At", _role),
    "rolebindings.rbac.authorization.k8s.io": (
        "Name,Role,Age,Users*,Groups*,ServiceAccounts*",
        _binding,
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": (
        "Name,Role,Age,Users*,Groups*,ServiceAccounts*",
        _binding,
    ),
    "events": (
        "Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*",
        _event,
    ),
    "resourcequotas": ("Name,Request,Limit,Age", _quota),
    "priorityclasses.scheduling.k8s.io": ("Name,Value,Global-Default,Age,PreemptionPolicy", _priority_class),
    "horizontalpodautoscalers.autoscaling": (
        "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age",
        _autoscaler,
    ),
}
