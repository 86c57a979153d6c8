"""The arithmetic of a Deployment: how many replicas each of its ReplicaSets should have next (pure).

Two ReplicaSets matter: the *new* one (its template is the Deployment's) and all *old* ones. In a rolling update
the new one may grow as long as all together stay within desired + maxSurge, and the old ones may shrink as long
as the available stay at or above desired - maxUnavailable; old replicas that never became available go first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clusters.embedded.resources import Obj


@dataclass(frozen=True)
class SetView:
    """A ReplicaSet as the arithmetic sees it."""

    name: str
    replicas: int  # wanted: spec.replicas
    available: int  # status.availableReplicas
    created: str = ""
    max_replicas: int = 0  # annotation of the last scaling: desired + surge then

    def with_replicas(self, replicas: int) -> "SetView":
        return replace(self, replicas=replicas)


@dataclass(frozen=True)
class Bounds:
    """Absolute numbers out of a strategy."""

    desired: int
    surge: int
    unavailable: int

    @classmethod
    def of(cls, spec: Obj) -> "Bounds":
        """From a Deployment's spec: percents of surge round up, of unavailable down; both 0 becomes 0 and 1."""
        desired = int(spec.get("replicas", 1))
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "Recreate":
            return cls(desired, 0, 0)
        rolling = strategy.get("rollingUpdate") or {}
        surge = _absolute(rolling.get("maxSurge", "25%"), total=desired, up=True)
        unavailable = _absolute(rolling.get("maxUnavailable", "25%"), total=desired, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        return cls(desired, surge, min(unavailable, desired))

    @property
    def most(self) -> int:
        return self.desired + self.surge

    @property
    def least_available(self) -> int:
        return self.desired - self.unavailable


def _absolute(value: Any, *, total: int, up: bool) -> int:
    if isinstance(value, int):
        return value
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    exact = int(text[:-1]) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


def next_new_replicas(bounds: Bounds, *, new: SetView, old: Sequence[SetView]) -> int:
    """How far the new ReplicaSet may grow (or must shrink) now."""
    if new.replicas >= bounds.desired:
        return bounds.desired
    total = new.replicas + sum(view.replicas for view in old)
    room = bounds.most - total
    return new.replicas + max(0, min(room, bounds.desired - new.replicas))


def next_old_replicas(bounds: Bounds, *, new: SetView, old: Sequence[SetView]) -> dict[str, int]:
    """The old ReplicaSets that may shrink now, by name."""
    total = new.replicas + sum(view.replicas for view in old)
    new_unavailable = max(0, new.replicas - new.available)
    budget = total - bounds.least_available - new_unavailable
    if budget <= 0:
        return {}
    oldest_first = sorted(old, key=lambda view: (view.created, view.name))
    cleaned = _drop_unavailable(oldest_first, budget=budget)
    available = new.available + sum(view.available for view in old)
    final = _drop_available(cleaned, budget=available - bounds.least_available)
    before = {view.name: view.replicas for view in old}
    return {view.name: view.replicas for view in final if view.replicas != before[view.name]}


def _drop_unavailable(views: Sequence[SetView], *, budget: int) -> list[SetView]:
    result = []
    for view in views:
        dropped = min(budget, max(0, view.replicas - view.available))
        budget -= dropped
        result.append(view.with_replicas(view.replicas - dropped))
    return result


def _drop_available(views: Sequence[SetView], *, budget: int) -> list[SetView]:
    result = []
    for view in views:
        dropped = min(max(0, budget), view.replicas)
        budget -= dropped
        result.append(view.with_replicas(view.replicas - dropped))
    return result


def proportional(bounds: Bounds, *, views: Sequence[SetView]) -> dict[str, int]:
    """Sizes after the Deployment was scaled in the middle of a rollout: each ReplicaSet by its share."""
    total = sum(view.replicas for view in views)
    most = bounds.most if bounds.desired > 0 else 0
    to_add = most - total
    grow_first = sorted(views, key=lambda view: (-view.replicas, view.created))
    if to_add < 0:
        grow_first = sorted(views, key=lambda view: (-view.replicas, view.created), reverse=False)
    sizes, left = {}, to_add
    for view in grow_first:
        share = _share(view, most=most, left=left, to_add=to_add) if to_add else 0
        sizes[view.name] = view.replicas + share
        left -= share
    if grow_first and left:  # what rounding left over goes to the first
        first = grow_first[0].name
        sizes[first] = max(0, sizes[first] + left)
    return {view.name: sizes[view.name] for view in views if sizes[view.name] != view.replicas}


def _share(view: SetView, *, most: int, left: int, to_add: int) -> int:
    if view.replicas == 0 or left == 0:
        return 0
    before = view.max_replicas or most
    wanted = round(view.replicas * most / before) - view.replicas if before else 0
    return min(wanted, left) if to_add > 0 else max(wanted, left)


def is_complete(bounds: Bounds, *, status: Obj) -> bool:
    """Everything is new, available, and nothing old is left."""
    counts = {status.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas")}
    return counts == {bounds.desired}


def has_progressed(old: Obj, *, new: Obj) -> bool:
    """Whether a status shows any step ahead of an earlier one."""
    old_left = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    new_left = new.get("replicas", 0) - new.get("updatedReplicas", 0)
    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return any(new.get(key, 0) > old.get(key, 0) for key in grown) or new_left < old_left
