"""How many replicas a deployment should have: pure, with the time as a parameter.

    busy        = requests in flight + queued + held while no replica is ready
    utilisation = busy / (replicas x concurrency)
    wanted      = ceil((in flight + queued) / (target x concurrency) + held / concurrency),
                  at least 1 while requests arrive, within min..max

Held requests are what piled up while nobody could answer, not how many come at a time: each wants a slot, but no room
beside it. So the one request that waits for a model to load does not start a second replica.

Up is eager: the moment `wanted` exceeds what is asked for, ask. Down is patient: a window remembers the busiest
moments of the last `scale_down_delay_s` seconds, and only when it is full and even its peak would do with fewer
replicas are those given back, down to what the peak needs.

`wanted` does not depend on how many replicas are ready. Replicas that are still starting are therefore never counted
as capacity lost, and are never asked for twice.

"No data" is not zero: an unknown load holds the count, and empties the window, because nobody knows what happened
meanwhile. Bounds are not load: a raised minimum or lowered maximum acts at once, known load or not.

The window keeps load, not replica counts, so that a changed target or concurrency applies to the past as well.
"""

import math
from dataclasses import dataclass

from routerd.routes import ScaleSpec

# Float noise must not ask for another replica: 0.7 x 10 slots is exactly 7 busy, not 7.000000001.
_SLACK = 1e-9
# What a request that came and went between two readings weighs: one replica, however low the target.
_TRACE = 0.01


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one deployment over the last second or so; `busy` values are means, `arrived` is a count."""

    in_flight: float
    queued: float
    held: float = 0.0
    arrived: int = 0

    @property
    def busy(self) -> float:
        """Requests wanting a slot; never quite zero while requests arrive."""
        total = self.in_flight + self.queued + self.held
        return max(total, _TRACE) if self.arrived else total

    def demand(self, *, target_percent: int) -> float:
        """`busy`, where a held request counts for as much as fits into one slot at the target."""
        return self.busy - self.held * (1 - target_percent / 100)


@dataclass(frozen=True, slots=True)
class Window:
    """The peaks of the last seconds: times ascending, loads descending, so that the first is the maximum."""

    since: float | None = None  # when load became known without a gap
    peaks: tuple[tuple[float, float], ...] = ()

    @property
    def peak(self) -> float:
        """The highest load remembered; 0 when nothing is."""
        return self.peaks[0][1] if self.peaks else 0.0

    def covers(self, *, seconds: float, now: float) -> bool:
        """Whether load is known for all of the last `seconds`."""
        return self.since is not None and now - self.since >= seconds

    def add(self, busy: float, *, now: float, keep: float) -> "Window":
        """The window with one more reading, without what is older than `keep` seconds or can never be a peak."""
        recent = tuple((at, load) for at, load in self.peaks if at > now - keep and load > busy)
        return Window(since=now if self.since is None else self.since, peaks=(*recent, (now, busy)))


@dataclass(frozen=True, slots=True)
class Figures:
    """What a decision was made from, as the admin API and the status show it."""

    in_flight: float
    queued: float
    concurrency: int
    target: int
    wanted_raw: int
    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A change of the replica count, or (`before` == `after`) a bound that now stops the count."""

    before: int
    after: int
    reason: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Memory:
    """What the policy remembers of one deployment between two calls."""

    window: Window = Window()
    bounded: bool = False  # the peak of the window wants more than the maximum


def replicas_for(busy: float, *, target_percent: int, concurrency: int) -> int:
    """Replicas that keep `busy` concurrent requests at or under the target utilisation; 0 for no load."""
    return math.ceil(busy * 100 / (target_percent * concurrency) - _SLACK)


def decide(
    memory: Memory, *, load: Load | None, asked: int, scale: ScaleSpec, concurrency: int, now: float
) -> tuple[Memory, Verdict | None]:
    """What to remember, and what to change if anything.

    `asked` is the workload's spec.replicas; `load` is None while it is unknown.
    """
    if scale.mode != "auto":
        return Memory(), None
    if load is None:
        return Memory(bounded=memory.bounded), _enforce_bounds(asked, scale=scale, concurrency=concurrency)
    demand = load.demand(target_percent=scale.target_utilization)
    window = memory.window.add(demand, now=now, keep=scale.scale_down_delay_s)
    view = _View(load=load, window=window, asked=asked, scale=scale, concurrency=concurrency)
    after = Memory(window=window, bounded=view.wanted_by(window.peak) > scale.max)
    return after, _verdict(view, newly_bounded=after.bounded and not memory.bounded, now=now)


@dataclass(frozen=True, slots=True)
class _View:
    load: Load
    window: Window
    asked: int
    scale: ScaleSpec
    concurrency: int

    def wanted_by(self, busy: float) -> int:
        return replicas_for(busy, target_percent=self.scale.target_utilization, concurrency=self.concurrency)

    @property
    def wanted_now(self) -> int:
        return self.wanted_by(self.load.demand(target_percent=self.scale.target_utilization))

    def figures(self, *, wanted: int) -> Figures:
        return Figures(
            in_flight=round(self.load.in_flight, 2),
            queued=round(self.load.queued + self.load.held, 2),
            concurrency=self.concurrency,
            target=self.scale.target_utilization,
            wanted_raw=wanted,
            min=self.scale.min,
            max=self.scale.max,
        )


def _verdict(view: _View, *, newly_bounded: bool, now: float) -> Verdict | None:
    scale, asked = view.scale, view.asked
    up = _clamp(view.wanted_now, scale=scale)
    if up > asked:
        return _change(view, to=up, wanted=view.wanted_now, reason=_reason_up(view))
    if asked > scale.max:
        reason = f"maximum is {scale.max}: {_count(asked)} are more than that"
        return _change(view, to=scale.max, wanted=view.wanted_now, reason=reason)
    needed = view.wanted_by(view.window.peak)
    down = _clamp(needed, scale=scale)
    if down < asked and view.window.covers(seconds=scale.scale_down_delay_s, now=now):
        return _change(view, to=down, wanted=needed, reason=_reason_down(view, needed=needed))
    if newly_bounded:
        return _change(view, to=asked, wanted=view.wanted_now, reason=_reason_up(view))
    return None


def _enforce_bounds(asked: int, *, scale: ScaleSpec, concurrency: int) -> Verdict | None:
    to = _clamp(asked, scale=scale)
    if to == asked:
        return None
    bound = f"minimum is {scale.min}" if to > asked else f"maximum is {scale.max}"
    idle = _View(Load(0, 0), window=Window(), asked=asked, scale=scale, concurrency=concurrency)
    return _change(idle, to=to, wanted=asked, reason=f"{bound}: {_count(asked)} asked for; the load is unknown")


def _change(view: _View, *, to: int, wanted: int, reason: str) -> Verdict:
    return Verdict(before=view.asked, after=to, reason=reason, figures=view.figures(wanted=wanted))


def _clamp(wanted: int, *, scale: ScaleSpec) -> int:
    return min(max(wanted, scale.min), scale.max)


def _reason_up(view: _View) -> str:
    scale, wanted = view.scale, view.wanted_now
    if wanted < scale.min:
        return f"minimum is {scale.min}: {_count(view.asked)} asked for"
    bounded = f"; wants {wanted}, bounded by max {scale.max}" if wanted > scale.max else ""
    return f"{_describe_load(view)}{bounded}"


def _describe_load(view: _View) -> str:
    load, waiting = view.load, view.load.queued + view.load.held
    amounts = f"{load.in_flight:.1f} in flight + {waiting:.3g} queued on {_count(view.asked)}"
    if view.asked == 0:
        return f"requests arrive and there is no replica: {amounts}"
    percent = 100 * load.busy / (view.asked * view.concurrency)
    return f"load {percent:.0f} % over {view.scale.target_utilization} %: {amounts}"


def _reason_down(view: _View, *, needed: int) -> str:
    scale, peak = view.scale, view.window.peak
    if peak == 0:
        held = f"; minimum is {scale.min}" if scale.min else ""
        return f"no request for {scale.scale_down_delay_s} s{held}"
    percent = 100 * peak / (view.asked * view.concurrency)
    enough = f"{_count(needed)} {'is' if needed == 1 else 'are'} enough at {scale.target_utilization} %"
    held = f"; minimum is {scale.min}" if needed < scale.min else ""
    return (
        f"load at most {percent:.0f} % for {scale.scale_down_delay_s} s: "
        f"{peak:.1f} requests at the peak on {_count(view.asked)}, {enough}{held}"
    )


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
