"""Why N replicas: the router's sum with its numbers, and where the next change lies.

    wanted = ceil((in flight + queued) / (target x slots of a replica)), within fewest and most

The same rule as routerd.autoscale.policy, told to people. It only explains; the router alone decides.
"""

import math
from dataclasses import dataclass

_SLACK = 1e-9  # 0.7 x 10 slots is exactly 7 busy, not 7.000000001


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """What was asked for: replicas between `fewest` and `most`, each at most `target_percent` busy."""

    auto: bool
    fewest: int
    most: int
    target_percent: int
    concurrency: int
    down_after_seconds: int


@dataclass(frozen=True, slots=True)
class Sum:
    """The formula with its numbers."""

    in_flight: float
    queued: float
    target: float  # 0.7
    concurrency: int
    exact: float  # replicas before rounding
    wanted: int  # rounded up, within the bounds
    unbounded: int
    next_up_above: float | None  # busy requests over which another replica is asked for; None at the most
    next_down_at: float | None  # busy requests at which one can go; None at the fewest


def explain_scale(rule: ScaleRule, *, in_flight: float, queued: float) -> Sum:
    """The sum behind the replicas wanted for this load."""
    share = rule.target_percent / 100 * rule.concurrency
    exact = (in_flight + queued) / share
    unbounded = math.ceil(exact - _SLACK)
    wanted = min(max(unbounded, rule.fewest), rule.most)
    return Sum(
        in_flight=in_flight,
        queued=queued,
        target=rule.target_percent / 100,
        concurrency=rule.concurrency,
        exact=exact,
        wanted=wanted,
        unbounded=unbounded,
        next_up_above=wanted * share if wanted < rule.most else None,
        next_down_at=(wanted - 1) * share if wanted > max(rule.fewest, 0) else None,
    )


def replicas_needed(*, rps: float, seconds: float, target_percent: int, concurrency: int) -> int:
    """The sizing formula: replicas for `rps` requests a second of `seconds` each."""
    return max(1, math.ceil(rps * seconds / (target_percent / 100) / concurrency - _SLACK))
