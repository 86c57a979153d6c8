"""What a kubelet reports of a pod: container states, phase, conditions (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from clusters.embedded.conditions import merge_conditions
from clusters.embedded.quantities import qos_class
from clusters.embedded.resources import Obj

CONTAINER_CREATING: Final = "ContainerCreating"
CRASH_LOOP: Final = "CrashLoopBackOff"


@dataclass(frozen=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    started_at: str


@dataclass(frozen=True)
class Terminated:
    exit_code: int
    reason: str
    started_at: str = ""
    finished_at: str = ""
    message: str = ""
    signal: int = 0
    container_id: str = ""


State = Waiting | Running | Terminated


@dataclass(frozen=True)
class ContainerReport:
    """What is known of one container now."""

    name: str
    image: str
    init: bool = False
    sidecar: bool = False
    state: State = Waiting(CONTAINER_CREATING)
    last: Terminated | None = None
    ready: bool = False
    started: bool = False
    restart_count: int = 0
    container_id: str = ""

    @property
    def succeeded(self) -> bool:
        return isinstance(self.state, Terminated) and self.state.exit_code == 0

    def with_state(self, state: State, **changes: Any) -> "ContainerReport":
        return replace(self, state=state, **changes)


def container_status(report: ContainerReport) -> Obj:
    """One entry of containerStatuses."""
    status: Obj = {
        "name": report.name,
        "image": report.image,
        "imageID": report.image if report.container_id else "",
        "lastState": _state(report.last) if report.last else {},
        "ready": report.ready,
        "restartCount": report.restart_count,
        "started": report.started,
        "state": _state(report.state),
    }
    return status | ({"containerID": report.container_id} if report.container_id else {})


def _state(state: State) -> Obj:
    if isinstance(state, Running):
        return {"running": {"startedAt": _seconds(state.started_at)}}
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason} | ({"message": state.message} if state.message else {})}
    ended: Obj = {"exitCode": state.exit_code, "reason": state.reason}
    optional = {
        "message": state.message,
        "signal": state.signal,
        "containerID": state.container_id,
        "startedAt": _seconds(state.started_at),
        "finishedAt": _seconds(state.finished_at),
    }
    return {"terminated": ended | {key: value for key, value in optional.items() if value}}


def _seconds(moment: str) -> str:
    """RFC 3339 without the fraction, as the API shows it."""
    return moment.partition(".")[0] + "Z" if "." in moment else moment


def phase_of(reports: Sequence[ContainerReport], *, restart_policy: str, ending: bool = False) -> str:
    """Pending, Running, Succeeded or Failed, by the containers' states; in a pod that ends nothing is restarted."""
    inits = [report for report in reports if report.init and not report.sidecar]
    mains = [report for report in reports if not report.init]
    for report in inits:
        if isinstance(report.state, Terminated) and report.state.exit_code and restart_policy == "Never":
            return "Failed"
        if not report.succeeded:
            return "Pending"
    if any(isinstance(report.state, Waiting) and report.last is None for report in mains):
        return "Pending"
    ended = [report.state for report in mains if isinstance(report.state, Terminated)]
    if len(ended) < len(mains) or (restart_policy == "Always" and not ending):
        return "Running"
    if all(state.exit_code == 0 for state in ended):
        return "Succeeded"
    return "Failed" if restart_policy == "Never" or ending else "Running"


def pod_status(
    pod: Obj, *, reports: Sequence[ContainerReport], pod_ip: str, host_ip: str, sandbox: bool, now: str
) -> Obj:
    """The whole status; keeps what others wrote and the times of conditions that did not change."""
    old: Obj = pod.get("status") or {}
    ending = "deletionTimestamp" in pod["metadata"]
    phase = phase_of(reports, restart_policy=pod["spec"].get("restartPolicy", "Always"), ending=ending)
    status: Obj = {
        **old,
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": old.get("startTime") or now,
        "qosClass": qos_class(pod["spec"]),
        "containerStatuses": [container_status(r) for r in reports if not r.init],
    }
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if any(report.init for report in reports):
        status["initContainerStatuses"] = [container_status(r) for r in reports if r.init]
    found = _conditions(pod, reports=reports, phase=phase, sandbox=sandbox)
    wanted = [{"lastProbeTime": None, **condition} for condition in found]
    status["conditions"] = merge_conditions(old.get("conditions") or [], wanted=wanted, now=now)
    return status


def _conditions(pod: Obj, *, reports: Sequence[ContainerReport], phase: str, sandbox: bool) -> list[Obj]:
    not_initialized = [r.name for r in reports if r.init and not (r.succeeded or (r.sidecar and r.started))]
    mains = [report for report in reports if not report.init or report.sidecar]
    unready = [report.name for report in mains if not report.ready]
    finished = phase in {"Succeeded", "Failed"}
    containers = _ready_condition("ContainersReady", unready=unready, finished=finished, phase=phase)
    ready = _ready_condition("Ready", unready=unready, finished=finished, phase=phase)
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    known = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    if ready["status"] == "True" and (missing := [g for g in gates if known.get(g) != "True"]):
        message = "; ".join(f'corresponding condition of pod readiness gate "{g}" does not exist.' for g in missing)
        ready |= {"status": "False", "reason": "ReadinessGatesNotReady", "message": message}
    return [
        {"type": "PodReadyToStartContainers", "status": _truth(sandbox and not finished)},
        _initialized(not_initialized, phase=phase),
        ready,
        containers,
        {"type": "PodScheduled", "status": "True"},
    ]


def _initialized(missing: list[str], *, phase: str) -> Obj:
    if phase == "Succeeded":
        return {"type": "Initialized", "status": "True", "reason": "PodCompleted"}
    if not missing:
        return {"type": "Initialized", "status": "True"}
    message = f"containers with incomplete status: [{' '.join(missing)}]"
    return {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
        "message": message,
    }


def _ready_condition(name: str, *, unready: list[str], finished: bool, phase: str) -> Obj:
    if finished:
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
        return {"type": name, "status": "False", "reason": reason}
    if not unready:
        return {"type": name, "status": "True"}
    message = f"containers with unready status: [{' '.join(unready)}]"
    return {"type": name, "status": "False", "reason": "ContainersNotReady", "message": message}


def _truth(value: bool) -> str:
    return "True" if value else "False"
