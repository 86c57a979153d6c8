"""What an object's status tells: its conditions, merged so that times tell of changes only; whether a pod is over."""

from collections.abc import Sequence

from clusters.embedded.resources import Obj


def find_condition(obj: Obj, kind: str) -> Obj | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), None)


def is_true(obj: Obj, kind: str) -> bool:
    condition = find_condition(obj, kind)
    return condition is not None and condition["status"] == "True"


def has_ended(pod: Obj) -> bool:
    """Whether all its containers have, for good. (Of other kinds: False.)"""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def merge_conditions(old: Sequence[Obj], *, wanted: Sequence[Obj], now: str) -> list[Obj]:
    """``wanted`` in place of those of the same type; lastTransitionTime moves only with the status."""
    before = {condition["type"]: condition for condition in old}
    types = {condition["type"] for condition in wanted}
    merged = [condition for condition in old if condition["type"] not in types]
    for condition in wanted:
        known = before.get(condition["type"])
        same = known is not None and known["status"] == condition["status"]
        since = known["lastTransitionTime"] if known is not None and same else now
        merged.append({"lastTransitionTime": since, **condition})
    return merged
