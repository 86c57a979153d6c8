"""Kubernetes quantities: "500m", "1.5", "2Gi", "1e3" (pure)."""

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

_FACTORS: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY: Final = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([KMGTPE]i|[numkMGTPE])?$")


def parse_quantity(text: str | float) -> Decimal:
    """In base units: cores, bytes, counts. Raises ValueError."""
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        raise ValueError(f"quantities must match the regular expression '{_QUANTITY.pattern}': {text!r}")
    return Decimal(match[1]) * _FACTORS[match[2] or ""]


def format_quantity(value: Decimal, *, binary: bool = False) -> str:
    """As Kubernetes writes it: whole, in thousandths, or (binary) with the greatest suffix that leaves a whole."""
    if value != value.to_integral_value():
        return f"{int((value * 1000).to_integral_value(rounding=ROUND_CEILING))}m"
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if binary and value and value % _FACTORS[suffix] == 0:
            return f"{int(value / _FACTORS[suffix])}{suffix}"
    return str(int(value))


def add_quantities(maps: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Sum of resource maps, name by name."""
    total: dict[str, Decimal] = {}
    for resources in maps:
        for name, value in resources.items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(value)
    return total


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod needs on a node: its containers together, or its greediest init container.

    Sidecars (init containers that go on) count with the containers.
    """
    inits = spec.get("initContainers") or []
    lasting = [*(spec.get("containers") or []), *(c for c in inits if c.get("restartPolicy") == "Always")]
    total = add_quantities(container_requests(container) for container in lasting)
    for container in inits:
        for name, value in container_requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), parse_quantity(value))
    for name, value in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, Decimal(0)) + parse_quantity(value)
    return total


def container_requests(container: Mapping[str, Any]) -> dict[str, Any]:
    """Requests; a limit without a request is the request."""
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed, Burstable or BestEffort, by requests and limits of CPU and memory."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    amounts = [(container_requests(c), (c.get("resources") or {}).get("limits") or {}) for c in containers]
    measured = ("cpu", "memory")
    if not any(name in requests or name in limits for requests, limits in amounts for name in measured):
        return "BestEffort"
    if all(limits.get(n) is not None and requests[n] == limits[n] for requests, limits in amounts for n in measured):
        return "Guaranteed"
    return "Burstable"
