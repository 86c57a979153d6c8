"""The cells of a pod, first of all kubectl's one-word account of its state (pure)."""

from datetime import datetime

from clusters.embedded.conditions import find_condition, has_ended, is_true
from clusters.embedded.resources import Obj
from clusters.embedded.tables.age import age


def pod_ready(pod: Obj, _now: datetime) -> str:
    ready = sum(1 for s in _statuses(pod) if s.get("ready"))
    return f"{ready}/{len(pod['spec'].get('containers', ()))}"


def pod_gates(pod: Obj, _now: datetime) -> str:
    gates = pod["spec"].get("readinessGates") or ()
    true = {c["type"] for c in (pod.get("status") or {}).get("conditions") or () if c["status"] == "True"}
    return f"{sum(gate['conditionType'] in true for gate in gates)}/{len(gates)}" if gates else ""


def pod_restarts(pod: Obj, now: datetime) -> str:
    count = sum(s.get("restartCount", 0) for s in _statuses(pod))
    ends = [
        ended["finishedAt"]
        for s in _statuses(pod)
        if (ended := (s.get("lastState") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    return f"{count} ({age(max(ends), now)} ago)" if count and ends else str(count)


def _statuses(pod: Obj) -> list[Obj]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def pod_state(pod: Obj, _now: datetime) -> str:
    """One word for its state, e.g. Running, CrashLoopBackOff, Init:0/1, Terminating."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase", "Unknown")
    if (find_condition(pod, "PodScheduled") or {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    reason = _init_state(pod) or _main_state(pod, reason)
    if "deletionTimestamp" in pod["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if not has_ended(pod):
            return "Terminating"
    return str(reason)


def _init_state(pod: Obj) -> str:
    containers = pod["spec"].get("initContainers") or []
    always = {c["name"] for c in containers if c.get("restartPolicy") == "Always"}
    for index, status in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        current = status.get("state") or {}
        ended, waiting = current.get("terminated"), current.get("waiting") or {}
        if ended and ended.get("exitCode") == 0:
            continue
        if status["name"] in always and status.get("started"):
            continue
        if ended:
            return "Init:" + _ended(ended)
        if waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return "Init:" + str(waiting["reason"])
        return f"Init:{index}/{len(containers)}"
    return ""


def _main_state(pod: Obj, reason: str) -> str:
    running = False
    for container in reversed(_statuses(pod)):
        current = container.get("state") or {}
        ended, waiting = current.get("terminated"), current.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended:
            reason = _ended(ended)
        elif container.get("ready") and "running" in current:
            running = True
    if reason == "Completed" and running:
        return "Running" if is_true(pod, "Ready") else "NotReady"
    return reason


def _ended(ended: Obj) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"
