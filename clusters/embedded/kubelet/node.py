"""What the node lends to every pod: directories, images, settings, and ways to tell of what happens."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clusters.embedded.addresses import Block
from clusters.embedded.images import ImageStore
from clusters.embedded.kubelet.cgroups import make_memory_cgroup
from clusters.embedded.kubelet.environment import Sources
from clusters.embedded.quantities import parse_quantity
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CONFIG_MAPS, SECRETS, Obj

NODE_NAME: Final = "local"
ISOLATION_ANNOTATION: Final = "slipway.dev/isolation"
MEMORY_ANNOTATION: Final = "slipway.dev/memory-limits"  # enforced, or none
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Isolation:
    """How containers are kept apart on this machine; found out by trying (isolation.py)."""

    namespaces: bool
    user_namespace: bool = False  # not root: mounts are made in a user namespace
    own_pids: bool = False
    change_user: bool = False  # root: runAsUser is honoured by setuid

    @property
    def word(self) -> str:
        return "namespaces" if self.namespaces else "none"


@dataclass(frozen=True)
class BackOff:
    """Seconds between attempts: base, doubled up to cap; forgotten after a container ran long enough."""

    base: float = 10.0
    cap: float = 300.0
    reset_after: float = 600.0


@dataclass(frozen=True)
class Plan:
    """A node as it was asked for."""

    name: str = NODE_NAME
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)  # in place of the machine's, and extended ones

    @classmethod
    def parse(cls, text: str) -> "Plan":
        """`NAME[,label:KEY=VALUE][,taint:KEY=VALUE:EFFECT][,RESOURCE=QUANTITY]...`. Raises ValueError."""
        name, *items = text.split(",")
        labels: dict[str, str] = {}
        taints: list[Mapping[str, str]] = []
        resources: dict[str, str] = {}
        for item in items:
            kind, separator, rest = item.partition(":")
            key, equals, value = (rest if separator and kind in {"label", "taint"} else item).partition("=")
            if not (name and key and equals):
                raise ValueError(
                    f"--node {text}: {item!r} is none of label:KEY=VALUE, taint:KEY=VALUE:EFFECT, RESOURCE=N"
                )
            if kind == "label":
                labels[key] = value
            elif kind == "taint":
                value, _, effect = value.rpartition(":")
                if effect not in _EFFECTS:
                    raise ValueError(f"--node {text}: the effect of a taint is one of {', '.join(_EFFECTS)}")
                taints.append({"key": key, "value": value, "effect": effect})
            else:
                parse_quantity(value)
                resources[key] = value
        return cls(name, labels, tuple(taints), resources)


def plans_for(count: int, *, described: Sequence[Plan]) -> tuple[Plan, ...]:
    """`local`, `local-2`, ... up to the count; those described take the place of their names or come after."""
    known = {plan.name: plan for plan in described}
    plain = [NODE_NAME, *(f"{NODE_NAME}-{number}" for number in range(2, count + 1))][:count]
    names = [*plain, *(name for name in known if name not in plain)]
    return tuple(known.get(name) or Plan(name) for name in names)


@dataclass(frozen=True)
class Node:
    """Everything pods need of their node. One per kubelet."""

    registry: Registry
    plan: Plan
    address: str
    data: Path
    block: Block
    images: ImageStore
    isolation: Isolation
    allocatable: Mapping[str, str]
    token: Callable[[Obj, str, int], str]
    ca_certificate: Callable[[], str]
    claimed: Callable[[str, str], Path | None]  # (namespace, claim) -> where its volume lies
    api_address: Callable[[], tuple[str, int]]  # KUBERNETES_SERVICE_HOST and PORT
    back_off: BackOff = field(default_factory=BackOff)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    memory_cgroup: Path | None = None
    pull_seconds: Callable[[], float] = lambda: 0.0  # an image takes so long (faults.py)
    heartbeat: float = 10.0  # seconds between two renewals of the node's Lease

    @property
    def name(self) -> str:
        return self.plan.name

    def pod_directory(self, uid: str) -> Path:
        return self.data / "pods" / uid

    def event(self, pod: Obj, *, reason: str, message: str, warning: bool = False) -> None:
        kind = "Warning" if warning else "Normal"
        self.registry.record_event(pod, type=kind, reason=reason, message=message, component="kubelet")

    def cgroups_for(self, uid: str, container: Obj) -> tuple[Path, ...]:
        """A fresh memory cgroup when the container has a limit and this machine lets us."""
        limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        if limit is None or self.memory_cgroup is None:
            return ()
        return make_memory_cgroup(
            self.memory_cgroup, name=f"{uid}-{container['name']}", limit=int(parse_quantity(limit))
        )

    @property
    def sources(self) -> Sources:
        return RegistrySources(self.registry)


@dataclass(frozen=True)
class RegistrySources:
    """ConfigMaps and Secrets by name."""

    registry: Registry

    def config_map(self, namespace: str, name: str) -> Obj | None:
        return self.registry.find(CONFIG_MAPS, namespace, name)

    def secret(self, namespace: str, name: str) -> Obj | None:
        return self.registry.find(SECRETS, namespace, name)


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine_resources(*, cpus: int | None, memory: int | None) -> dict[str, str]:
    """Capacity of the node: the machine's, unless told otherwise."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": str(cpus or os.cpu_count() or 1),
        "memory": f"{(memory or pages) // 1024}Ki",
        "pods": "250",
        "ephemeral-storage": f"{_disk_bytes() // 1024}Ki",
    }


def _disk_bytes() -> int:
    disk = os.statvfs("/")
    return disk.f_blocks * disk.f_frsize


def node_object(
    plan: Plan, *, capacity: Mapping[str, str], annotations: Mapping[str, str], address: str, now: str
) -> Obj:
    """The Node as the API shows it; ready from the start."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    condition = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    pressures = [
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
    conditions = [{"type": t, "status": "False", "reason": r, "message": m, **condition} for t, r, m in pressures]
    conditions.append(
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
        | condition
    )
    labels = {
        "kubernetes.io/hostname": plan.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        "slipway.dev/runtime": "process",
        **plan.labels,
    }
    return {
        "metadata": {
            "name": plan.name,
            "labels": labels,
            "annotations": dict(annotations),
        },
        "spec": {"taints": [dict(taint) for taint in plan.taints]} if plan.taints else {},
        "status": {
            "capacity": dict(capacity),
            "allocatable": dict(capacity),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": plan.name},
            ],
            "nodeInfo": _node_info(machine),
        },
    }


def _node_info(architecture: str) -> Obj:
    return {
        "architecture": architecture,
        "bootID": _first_line("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": "process://1",
        "kernelVersion": platform.release(),
        "kubeProxyVersion": "",
        "kubeletVersion": "v1.33.4+slipway-embedded",
        "machineID": _first_line("/etc/machine-id"),
        "operatingSystem": "linux",
        "osImage": _os_image(),
        "systemUUID": "",
    }


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _os_image() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "Linux"
    return release.get("PRETTY_NAME", "Linux")
