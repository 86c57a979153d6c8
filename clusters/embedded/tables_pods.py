"""The row of a pod: kubectl's one-word account of its state (pure)."""

from datetime import datetime
from typing import Any

from clusters.embedded.resources import Obj
from clusters.embedded.tables_age import age


def cells(pod: Obj, now: datetime) -> list[Any]:
    spec, status = pod["spec"], pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    ready = sum(1 for s in statuses if s.get("ready"))
    gates = spec.get("readinessGates") or ()
    return [
        f"{ready}/{len(spec.get('containers', ()))}",
        state(pod),
        _restarts(statuses, now),
        age(pod["metadata"].get("creationTimestamp"), now),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        f"{_gates_met(status, gates)}/{len(gates)}" if gates else "<none>",
    ]


def state(pod: Obj) -> str:
    """What the STATUS column says, e.g. Running, CrashLoopBackOff, Init:0/1, Terminating."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase", "Unknown")
    scheduled = [c for c in status.get("conditions") or () if c["type"] == "PodScheduled"]
    if scheduled and scheduled[0].get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    reason = _init_state(pod) or _main_state(status, reason)
    if "deletionTimestamp" in pod["metadata"]:
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
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


def _main_state(status: Obj, reason: str) -> str:
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        current = container.get("state") or {}
        ended, waiting = current.get("terminated"), current.get("waiting") or {}
        if waiting.get("reason"):
            reason = waiting["reason"]
        elif ended:
            reason = _ended(ended)
        elif container.get("ready") and "running" in current:
            running = True
    if reason == "Completed" and running:
        ready = [c for c in status.get("conditions") or () if c["type"] == "Ready"]
        return "Running" if ready and ready[0]["status"] == "True" else "NotReady"
    return reason


def _ended(ended: Obj) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"


def _restarts(statuses: list[Obj], now: datetime) -> str:
    count = sum(s.get("restartCount", 0) for s in statuses)
    ends = [
        ended["finishedAt"]
        for s in statuses
        if (ended := (s.get("lastState") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    return f"{count} ({age(max(ends), now)} ago)" if count and ends else str(count)


def _gates_met(status: Obj, gates: Any) -> int:
    true = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    return sum(1 for gate in gates if gate["conditionType"] in true)
