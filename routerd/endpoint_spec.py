"""Reads the spec of one OnlineEndpoint: every field checked, and every fault told in one sentence. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from routerd.auth_spec import read_auth
from routerd.callers_spec import AllowedHosts, read_cors, read_hosts, read_sticky
from routerd.routes import (
    INVALID_SPEC,
    MAX_SPLIT,
    DeploymentRoute,
    EndpointRoute,
    Object,
    Problem,
    Replica,
    ScaleSpec,
)

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SpecError(ValueError):
    """A field of an OnlineEndpoint that the router cannot act on."""


def read_endpoint(
    item: Object, *, replicas: Mapping[tuple[str, str], tuple[Replica, ...]], allowed_hosts: AllowedHosts
) -> EndpointRoute:
    """One OnlineEndpoint (a dictionary) as the router understands it; `replicas` by (namespace, Service).

    What is wrong with it becomes problems, never an exception.
    """
    metadata = item.get("metadata") or {}
    spec = item.get("spec") or {}
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    problems: list[Problem] = []
    deployments = []
    for raw in _list(spec.get("deployments")):
        try:
            deployments.append(_deployment(raw, namespace=namespace, replicas=replicas))
        except SpecError as error:
            problems.append(Problem(type="Ready", reason=INVALID_SPEC, message=str(error)))
    auth = read_auth(spec.get("auth"), endpoint=name, problems=problems)
    access = _access(spec.get("access"), problems=problems)
    traffic, mirror = _read_shares(spec, known={d.name for d in deployments}, problems=problems)
    if not _NAME.fullmatch(name):
        problems.append(_invalid(f"metadata.name {name!r} is not a name the router can route."))
    return EndpointRoute(
        namespace=namespace,
        name=name,
        uid=str(metadata.get("uid", "")),
        generation=int(metadata.get("generation") or 0),
        auth_mode=auth.mode,
        key_revision=auth.revision,
        keys=auth.keys,
        key_expiry=auth.key_expiry,
        issuers=auth.issuers,
        hosts=read_hosts(spec.get("hosts"), namespace=namespace, allowed=allowed_hosts, problems=problems),
        cors=read_cors(spec.get("cors"), problems=problems),
        sticky=read_sticky(spec.get("sticky"), problems=problems),
        priorities=spec.get("priorities") is True,
        traffic=traffic,
        mirror=mirror,
        deployments=tuple(sorted(deployments, key=lambda d: d.name)),
        problems=tuple(problems),
        access=access or "both",
        routed=auth.usable and access is not None and bool(_NAME.fullmatch(name)),
    )


def _invalid(message: str) -> Problem:
    return Problem(type="Ready", reason=INVALID_SPEC, message=message)


def _read_shares(
    spec: Object, *, known: set[str], problems: list[Problem]
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """(traffic, mirror) of the `known` deployments; none of either where it cannot be meant."""
    traffic = _weights(spec.get("traffic"), field_name="traffic", known=known, problems=problems)
    mirror = _weights(spec.get("mirror"), field_name="mirror", known=known, problems=problems)
    if len(mirror) > 1:
        problems.append(_invalid("spec.mirror names several deployments: only one deployment can mirror."))
        mirror = ()
    if sum(percent for _, percent in traffic) > 100:
        problems.append(_invalid("spec.traffic adds up to more than 100 percent."))
        traffic = ()
    if len(traffic) > MAX_SPLIT:
        problems.append(_invalid(f"spec.traffic names more than {MAX_SPLIT} deployments."))
        traffic = ()
    return traffic, mirror


def _access(raw: Any, *, problems: list[Problem]) -> Literal["both", "public", "private"] | None:
    """Which listeners an endpoint answers on; None (then it is not routed at all) where that is not understood."""
    if raw is None:
        return "both"
    names = set(map(str, _list(raw)))
    if names == {"public", "private"}:
        return "both"
    if names == {"public"}:
        return "public"
    if names == {"private"}:
        return "private"
    problems.append(_invalid(f"spec.access is {raw!r}: public, private or both are needed."))
    return None


def _weights(raw: Any, *, field_name: str, known: set[str], problems: list[Problem]) -> tuple[tuple[str, int], ...]:
    weights = []
    if raw is not None and not isinstance(raw, Mapping):
        problems.append(_invalid(f"spec.{field_name} is {raw!r}: deployments with percents are needed."))
        return ()
    for name, percent in sorted((raw or {}).items()):
        if not isinstance(percent, int) or not 0 <= percent <= 100:
            problems.append(_invalid(f"spec.{field_name}.{name} is {percent!r}: 0 to 100 are allowed."))
        elif percent and name not in known:
            problems.append(_invalid(f"spec.{field_name} names {name}, which is not a deployment here."))
        elif percent:
            weights.append((name, percent))
    return tuple(weights)


def _list(raw: Any) -> Iterable[Any]:
    """A list's items; anything else that is there is one (wrong) item."""
    if raw is None:
        return ()
    return raw if isinstance(raw, list) else (raw,)


def _deployment(
    raw: Any, *, namespace: str, replicas: Mapping[tuple[str, str], tuple[Replica, ...]]
) -> DeploymentRoute:
    if not isinstance(raw, Mapping):
        raise SpecError(f"spec.deployments holds {raw!r}, which is no deployment.")
    name = str(raw.get("name", ""))
    if not _NAME.fullmatch(name):
        raise SpecError(f"spec.deployments: {name!r} is not a name the router can route.")
    where = f"spec.deployments[{name}]"
    service = str(raw.get("service") or "")
    if not service:
        raise SpecError(f"{where}.service is empty: name the Service whose pods answer.")
    return DeploymentRoute(
        name=name,
        service=service,
        workload=str(raw.get("workload") or service),
        concurrency=_number(raw, "maxConcurrentRequestsPerInstance", where=where, least=1),
        max_queue=_number(raw, "maxQueue", where=where),
        max_queue_wait_ms=_number(raw, "maxQueueWaitMs", where=where),
        request_timeout_ms=_number(raw, "requestTimeoutMs", where=where, least=1, most=300_000),
        total_timeout_ms=_number({"totalTimeoutMs": 0} | dict(raw), "totalTimeoutMs", where=where),
        scale=_scale(raw.get("scale") or {}, where=f"{where}.scale"),
        replicas=replicas.get((namespace, service), ()),
    )


def _scale(raw: Any, *, where: str) -> ScaleSpec:
    mode = raw.get("mode") if isinstance(raw, Mapping) else None
    if mode not in ("auto", "fixed"):
        raise SpecError(f"{where}.mode is {mode!r}: only auto and fixed are known.")
    least, most = _number(raw, "min", where=where), _number(raw, "max", where=where, least=1)
    if least > most:
        raise SpecError(f"{where}.min is {least}, more than max ({most}).")
    defaults = {"targetUtilization": 70, "scaleDownDelaySeconds": 60}
    merged = defaults | {k: v for k, v in raw.items() if v is not None}
    return ScaleSpec(
        mode="auto" if mode == "auto" else "fixed",
        min=least,
        max=most,
        target_utilization=_number(merged, "targetUtilization", where=where, least=1, most=100),
        scale_down_delay_s=_number(merged, "scaleDownDelaySeconds", where=where, least=1),
    )


def _number(raw: Object, key: str, *, where: str, least: int = 0, most: int = 2**31 - 1) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise SpecError(f"{where}.{key} is {value!r}: a whole number from {least} to {most} is needed.")
    return value
