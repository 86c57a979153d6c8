"""Pod Security Standards: what the labels of a namespace allow (pure, but for the hook at the end).

    pod-security.kubernetes.io/enforce: privileged | baseline | restricted     pods that break it are refused
    pod-security.kubernetes.io/warn:    the same                               pods and workloads are warned of

A rule is a function from a pod to one finding, or "". `baseline` is the first list, `restricted` adds the second and
leaves out what the second says better. Rules of another version than the latest are not kept: the label's version is
only repeated in the message. Windows, AppArmor and SELinux have no rule here: no container of this cluster has them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from clusters.embedded.causes import invalid
from clusters.embedded.errors import Forbidden, Invalid
from clusters.embedded.notices import warn
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.resources import NAMESPACES, PODS, Obj

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS: Final = (PRIVILEGED, BASELINE, RESTRICTED)
_PREFIX: Final = "pod-security.kubernetes.io/"
_DEFAULT_CAPABILITIES: Final = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SAFE_SYSCTLS: Final = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    ]
)
_FREE_VOLUMES: Final = frozenset(
    ["name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
)
_PROFILES: Final = frozenset({"RuntimeDefault", "Localhost"})

Rule = Callable[[Obj], str]


def findings(spec: Obj, *, level: str) -> list[str]:
    """What in a pod's spec breaks the level, in Kubernetes' words and order."""
    if level == PRIVILEGED:
        return []
    rules = _BASELINE if level == BASELINE else (*(r for r in _BASELINE if r not in _SAID_BETTER), *_RESTRICTED)
    return [found for rule in rules if (found := rule(spec))]


# --- Rules of baseline ----------------------------------------------------------------------------


def _added_capabilities(spec: Obj) -> str:
    def wrong(container: Obj) -> set[str]:
        return set(_capabilities(container).get("add") or ()) - _DEFAULT_CAPABILITIES

    bad = [c for c in _containers(spec) if wrong(c)]
    names = _quoted(sorted({name for c in bad for name in wrong(c)}))
    told = f"{_named('container', bad)} must not include {names} in securityContext.capabilities.add"
    return f"non-default capabilities ({told})" if bad else ""


def _host_namespaces(spec: Obj) -> str:
    used = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return f"host namespaces ({', '.join(used)})" if used else ""


def _host_paths(spec: Obj) -> str:
    bad = [volume for volume in spec.get("volumes") or () if "hostPath" in volume]
    return f"hostPath volumes ({_named('volume', bad)})" if bad else ""


def _host_ports(spec: Obj) -> str:
    ports = [(c, p["hostPort"]) for c in _containers(spec) for p in c.get("ports") or () if p.get("hostPort")]
    if not ports:
        return ""
    bad = [c for c in _containers(spec) if any(c is owner for owner, _ in ports)]
    numbers = sorted({number for _, number in ports})
    use, word = ("uses" if len(bad) == 1 else "use"), ("hostPort" if len(numbers) == 1 else "hostPorts")
    return f"hostPort ({_named('container', bad)} {use} {word} {', '.join(map(str, numbers))})"


def _privileged(spec: Obj) -> str:
    bad = [c for c in _containers(spec) if _security(c).get("privileged")]
    return f"privileged ({_named('container', bad)} must not set securityContext.privileged=true)" if bad else ""


def _proc_mount(spec: Obj) -> str:
    bad = [c for c in _containers(spec) if _security(c).get("procMount") not in (None, "Default")]
    told = f'{_named("container", bad)} must not set securityContext.procMount to "Unmasked"'
    return f"procMount ({told})" if bad else ""


def _unconfined(spec: Obj) -> str:
    pod, bad = _profile(spec) == "Unconfined", [c for c in _containers(spec) if _profile(c) == "Unconfined"]
    who = ["pod"] * pod + ([_named("container", bad)] if bad else [])
    told = f'{" and ".join(who)} must not set securityContext.seccompProfile.type to "Unconfined"'
    return f"seccompProfile ({told})" if who else ""


def _sysctls(spec: Obj) -> str:
    names = [s.get("name", "") for s in _security(spec).get("sysctls") or () if s.get("name") not in _SAFE_SYSCTLS]
    return f"forbidden sysctls ({', '.join(names)})" if names else ""


# --- Rules of restricted --------------------------------------------------------------------------


def _escalation(spec: Obj) -> str:
    bad = [c for c in _containers(spec) if _security(c).get("allowPrivilegeEscalation") is not False]
    told = f"{_named('container', bad)} must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({told})" if bad else ""


def _kept_capabilities(spec: Obj) -> str:
    keeping = [c for c in _containers(spec) if "ALL" not in (_capabilities(c).get("drop") or ())]
    adding = [c for c in _containers(spec) if set(_capabilities(c).get("add") or ()) - {"NET_BIND_SERVICE"}]
    told = []
    if keeping:
        told.append(f'{_named("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = {n for c in adding for n in _capabilities(c)["add"]} - {"NET_BIND_SERVICE"}
        told.append(
            f"{_named('container', adding)} must not include {_quoted(sorted(names))} in "
            "securityContext.capabilities.add"
        )
    return f"unrestricted capabilities ({'; '.join(told)})" if told else ""


def _volume_types(spec: Obj) -> str:
    bad = [volume for volume in spec.get("volumes") or () if volume.keys() - _FREE_VOLUMES]
    types = sorted({kind for volume in bad for kind in volume.keys() - _FREE_VOLUMES})
    use = "uses" if len(bad) == 1 else "use"
    word = "type" if len(types) == 1 else "types"
    told = f"{_named('volume', bad)} {use} restricted volume {word} {_quoted(types)}"
    return f"restricted volume types ({told})" if bad else ""


def _root_allowed(spec: Obj) -> str:
    pod = _security(spec).get("runAsNonRoot")
    saying = [c for c in _containers(spec) if _security(c).get("runAsNonRoot") is False]
    silent = [c for c in _containers(spec) if _security(c).get("runAsNonRoot") is None]
    if pod is False or saying:
        who = ["pod"] * (pod is False) + ([_named("container", saying)] if saying else [])
        return f"runAsNonRoot != true ({' and '.join(who)} must not set securityContext.runAsNonRoot=false)"
    if not pod and silent:
        told = f"pod or {_named('container', silent)} must set securityContext.runAsNonRoot=true"
        return f"runAsNonRoot != true ({told})"
    return ""


def _user_zero(spec: Obj) -> str:
    bad = [c for c in _containers(spec) if _security(c).get("runAsUser") == 0]
    who = ["pod"] * (_security(spec).get("runAsUser") == 0) + ([_named("container", bad)] if bad else [])
    return f"runAsUser=0 ({' and '.join(who)} must not set runAsUser=0)" if who else ""


def _no_profile(spec: Obj) -> str:
    wrong = _profile(spec) not in {None, *_PROFILES}
    bad = [c for c in _containers(spec) if _profile(c) not in {None, *_PROFILES}]
    silent = [] if _profile(spec) in _PROFILES else [c for c in _containers(spec) if _profile(c) is None]
    if wrong or bad:
        who = ["pod"] * wrong + ([_named("container", bad)] if bad else [])
        types = _quoted(sorted({str(_profile(each)) for each in (*([spec] if wrong else []), *bad)}))
        return f"seccompProfile ({' and '.join(who)} must not set securityContext.seccompProfile.type to {types})"
    want = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"seccompProfile (pod or {_named('container', silent)} must set {want})" if silent else ""


_BASELINE: Final[tuple[Rule, ...]] = (
    _added_capabilities,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _privileged,
    _proc_mount,
    _unconfined,
    _sysctls,
)
_SAID_BETTER: Final = (_added_capabilities, _host_paths, _unconfined)
_RESTRICTED: Final[tuple[Rule, ...]] = (
    _escalation,
    _kept_capabilities,
    _volume_types,
    _root_allowed,
    _user_zero,
    _no_profile,
)


def _containers(spec: Obj) -> Iterator[Obj]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _security(part: Obj) -> Obj:
    return part.get("securityContext") or {}


def _capabilities(container: Obj) -> Obj:
    return _security(container).get("capabilities") or {}


def _profile(part: Obj) -> Any:
    return (_security(part).get("seccompProfile") or {}).get("type")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _named(word: str, parts: Sequence[Obj]) -> str:
    return f"{word}{'' if len(parts) == 1 else 's'} {_quoted(part['name'] for part in parts)}"


# --- The hook ---------------------------------------------------------------------------------------


def admit(admission: Admission, *, registry: Registry) -> None:
    """For ``registry.admission``. Raises Forbidden for a pod, Invalid for a namespace's label."""
    if admission.resource == NAMESPACES:
        _check_labels(admission.obj)
        return
    spec = _pod_spec(admission)
    if spec is None:
        return
    space = registry.find(NAMESPACES, None, admission.obj["metadata"]["namespace"]) or {"metadata": {}}
    labels = space["metadata"].get("labels") or {}
    if admission.resource == PODS:
        level = labels.get(f"{_PREFIX}enforce", PRIVILEGED)
        if found := findings(spec, level=level):
            told = f'violates PodSecurity "{level}:{_version(labels, "enforce")}": {", ".join(found)}'
            raise Forbidden(f'pods "{admission.obj["metadata"]["name"]}" is forbidden: {told}')
    level = labels.get(f"{_PREFIX}warn", PRIVILEGED)
    if found := findings(spec, level=level):
        warn(f'would violate PodSecurity "{level}:{_version(labels, "warn")}": {", ".join(found)}')


def _pod_spec(admission: Admission) -> Obj | None:
    """Of a new pod, or of the template of a workload that is made or whose template changes."""
    if admission.resource == PODS:
        return admission.obj["spec"] if admission.operation == "CREATE" else None
    template = _template(admission.obj)
    if admission.subresource or template is None or template == _template(admission.old or {}):
        return None
    return template.get("spec") or {}


def _template(obj: Obj) -> Obj | None:
    spec = obj.get("spec")
    if not isinstance(spec, dict) or obj.get("kind") not in _WORKLOADS:
        return None
    template = spec.get("template")
    return template if isinstance(template, dict) else None


_WORKLOADS: Final = frozenset({"Deployment", "ReplicaSet", "Job"})


def _version(labels: Obj, mode: str) -> str:
    return str(labels.get(f"{_PREFIX}{mode}-version", "latest"))


def _check_labels(namespace: Obj) -> None:
    labels = namespace["metadata"].get("labels") or {}
    wrong = [
        invalid(f"metadata.labels[{key}]", labels[key], f"must be one of {', '.join(LEVELS)}")
        for key in (f"{_PREFIX}{mode}" for mode in ("enforce", "audit", "warn"))
        if key in labels and labels[key] not in LEVELS
    ]
    if wrong:
        raise Invalid.of(NAMESPACES, namespace["metadata"]["name"], wrong)
