"""What the columns of kinds.py name: functions from the value at a column's path, and now, to a cell (pure).

None stands for what is not there; an empty answer becomes the column's default.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from clusters.embedded import selectors
from clusters.embedded.conditions import find_condition, is_true
from clusters.embedded.resources import Obj, value_at
from clusters.embedded.tables.age import age, duration, length

_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


# --- Any kind -------------------------------------------------------------------------------------


def ago(moment: str | None, now: datetime) -> str:
    return age(moment, now) if moment else ""


def count(value: Any, _now: datetime) -> int:
    return len(value or ())


def data_count(obj: Obj, _now: datetime) -> int:
    return len(obj.get("data") or ()) + len(obj.get("binaryData") or ())


def true_or_false(value: Any, _now: datetime) -> str:
    return "true" if value else "false"


def stripped(text: str | None, _now: datetime) -> str:
    return (text or "").strip()


def pairs(labels: dict[str, str] | None, _now: datetime) -> str:
    return ",".join(f"{k}={v}" for k, v in (labels or {}).items())


def to_text(selector: Obj | None, _now: datetime) -> str:
    return selectors.to_text(selector)


def reference(value: Obj | None, _now: datetime) -> str:
    return f"{value_at(value, 'kind')}/{value_at(value, 'name')}"


# --- Workloads ------------------------------------------------------------------------------------


def names(template: Obj | None, _now: datetime) -> str:
    return ",".join(c["name"] for c in value_at(template, "spec.containers") or ())


def images(template: Obj | None, _now: datetime) -> str:
    return ",".join(c.get("image", "") for c in value_at(template, "spec.containers") or ())


def ready_share(obj: Obj, _now: datetime) -> str:
    wanted = value_at(obj, "spec.replicas")
    return f"{value_at(obj, 'status.readyReplicas') or 0}/{1 if wanted is None else wanted}"


def completions(obj: Obj, _now: datetime) -> str:
    return f"{value_at(obj, 'status.succeeded') or 0}/{value_at(obj, 'spec.completions') or 1}"


def job_state(obj: Obj, _now: datetime) -> str:
    return next((word for word in ("Complete", "Failed") if is_true(obj, word)), "Running")


def job_duration(obj: Obj, now: datetime) -> str:
    start, end = value_at(obj, "status.startTime"), value_at(obj, "status.completionTime")
    return duration(start, end) if start and end else ago(start, now)


# --- Services and what leads to them --------------------------------------------------------------


def service_ports(ports: list[Obj] | None, _now: datetime) -> str:
    return ",".join(
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
        for p in ports or ()
    )


def external_address(obj: Obj, now: datetime) -> str:
    kind = value_at(obj, "spec.type")
    if kind == "ExternalName":
        return str(value_at(obj, "spec.externalName") or "")
    found = [addresses(value_at(obj, "status.loadBalancer.ingress"), now), *(value_at(obj, "spec.externalIPs") or ())]
    return ",".join(filter(None, found)) or ("<pending>" if kind == "LoadBalancer" else "<none>")


def addresses(ingress: list[Obj] | None, _now: datetime) -> str:
    return ",".join(entry.get("ip") or entry.get("hostname", "") for entry in ingress or ())


def hosts(rules: list[Obj] | None, _now: datetime) -> str:
    return ",".join(rule["host"] for rule in rules or () if rule.get("host"))


def ingress_ports(tls: Any, _now: datetime) -> str:
    return "80, 443" if tls else "80"


def slice_ports(ports: list[Obj] | None, _now: datetime) -> str:
    return ",".join(str(p.get("port", "*")) for p in ports or ())


def slice_addresses(endpoints: list[Obj] | None, _now: datetime) -> str:
    return _few(address for endpoint in endpoints or () for address in endpoint.get("addresses") or ())


def _few(words: Iterable[str]) -> str:
    listed = list(words)
    return ",".join(listed[:3]) + (f" + {len(listed) - 3} more..." if len(listed) > 3 else "")


# --- Nodes ----------------------------------------------------------------------------------------


def node_state(obj: Obj, _now: datetime) -> str:
    ready = find_condition(obj, "Ready")
    state = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    return state + (",SchedulingDisabled" if value_at(obj, "spec.unschedulable") else "")


def roles(labels: dict[str, str] | None, _now: datetime) -> str:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(k.removeprefix(prefix) for k in labels or () if k.startswith(prefix)))


def internal_ip(found: list[Obj] | None, _now: datetime) -> str:
    return next((a["address"] for a in found or () if a["type"] == "InternalIP"), "")


# --- Claims and quotas ----------------------------------------------------------------------------


def claim_state(obj: Obj, _now: datetime) -> str:
    return "Terminating" if "deletionTimestamp" in obj["metadata"] else value_at(obj, "status.phase") or "Pending"


def claim_capacity(obj: Obj, _now: datetime) -> str:
    return str(value_at(obj, "status.capacity.storage") or "") if value_at(obj, "spec.volumeName") else ""


def claim_modes(obj: Obj, _now: datetime) -> str:
    modes = value_at(obj, "status.accessModes") if value_at(obj, "spec.volumeName") else None
    return ",".join(_MODES.get(mode, mode) for mode in modes or ())


def quota_requests(obj: Obj, _now: datetime) -> str:
    return _used(obj, limits=False)


def quota_limits(obj: Obj, _now: datetime) -> str:
    return _used(obj, limits=True)


def _used(obj: Obj, *, limits: bool) -> str:
    hard, used = value_at(obj, "status.hard") or value_at(obj, "spec.hard") or {}, value_at(obj, "status.used") or {}
    kept = [name for name in sorted(hard) if name.startswith("limits.") is limits]
    return ", ".join(f"{name}: {used.get(name, 0)}/{hard[name]}" for name in kept)


# --- Rights ---------------------------------------------------------------------------------------


def lasting(seconds: int | None, _now: datetime) -> str:
    return "" if seconds is None else length(seconds)


def request_state(status: Obj | None, _now: datetime) -> str:
    types = {condition.get("type") for condition in value_at(status, "conditions") or ()}
    words = "Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"
    issued = ",Issued" if value_at(status, "certificate") else ""
    return words + (",Failed" if "Failed" in types else "") + issued


def users(subjects: list[Obj] | None, _now: datetime) -> str:
    return ", ".join(s["name"] for s in subjects or () if s["kind"] == "User")


def groups(subjects: list[Obj] | None, _now: datetime) -> str:
    return ", ".join(s["name"] for s in subjects or () if s["kind"] == "Group")


def accounts(subjects: list[Obj] | None, _now: datetime) -> str:
    return ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in subjects or () if s["kind"] == "ServiceAccount")


# --- Events ---------------------------------------------------------------------------------------


def last_seen(obj: Obj, now: datetime) -> str:
    return age(_last(obj), now)


def first_seen(obj: Obj, now: datetime) -> str:
    return age(obj.get("firstTimestamp") or _last(obj), now)


def _last(obj: Obj) -> str:
    return str(obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp") or "")


def involved(value: Obj | None, _now: datetime) -> str:
    return f"{(value_at(value, 'kind') or '').lower()}/{value_at(value, 'name') or ''}"


def event_source(obj: Obj, _now: datetime) -> str:
    told = obj.get("source") or {}
    return ", ".join(filter(None, (told.get("component"), told.get("host")))) or obj.get("reportingComponent", "")
