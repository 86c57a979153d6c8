"""The one sentence about an endpoint, and where it stands in a list that is worst first. Pure.

    Needs you   callers are turned away or refused, a rollout failed, the router does not serve it
    Watch       something is under way, or short without callers noticing
    Fine        answering everyone
    Idle        nobody can call it, on purpose or because nothing is behind it

The first part says what is so, the rest what it means for callers and why, with the figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

NEEDS_YOU: Final = "Needs you"
WATCH: Final = "Watch"
FINE: Final = "Fine"
IDLE: Final = "Idle"
GROUPS: Final = (NEEDS_YOU, WATCH, FINE, IDLE)

_NOTABLE_SHARE: Final = 0.001  # fewer refusals than this are not what a page opens with


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """What the sentence needs of one deployment."""

    name: str
    state: str  # a DeploymentState
    ready: int | None  # None: not reporting
    wanted: int | None
    text: str = ""  # what the watcher says of it, one sentence
    cause: str = ""  # "PodOutOfMemory"


@dataclass(frozen=True, slots=True)
class Load:
    """The last minute of an endpoint, over all its deployments with traffic."""

    rps: float
    p95_ms: float | None
    turned_away: float  # share of answers, 0 to 1
    failed: float


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the sentence needs of an endpoint. `load` None: nothing was measured in the last minute."""

    traffic: Mapping[str, int]
    mirror: Mapping[str, int]
    deployments: Sequence[DeploymentFacts]
    load: Load | None = None
    deleting: bool = False
    router_says: str = ""  # why the router does not serve it; "" when it does or is silent


@dataclass(frozen=True, slots=True)
class Truth:
    """A shape (ok, warn, fail, run, idle), its word, the sentence in two parts, and the group of the list."""

    shape: str
    word: str
    strong: str
    rest: str
    group: str

    @property
    def rank(self) -> tuple[int, int]:
        """Worst first: by group, then by shape."""
        order = ("fail", "warn", "run", "ok", "idle", "wait")
        return GROUPS.index(self.group), order.index(self.shape)


def tell_endpoint(facts: EndpointFacts) -> Truth:
    """The truth of an endpoint now."""
    if facts.deleting:
        return Truth("run", "Being deleted", "Being deleted.", "Callers get 404 from now on.", WATCH)
    if not facts.deployments:
        rest = "Callers get 404. Add a deployment, then give it traffic."
        return Truth("idle", "Idle", "Nothing is behind it yet.", rest, IDLE)
    serving = [each for each in facts.deployments if facts.traffic.get(each.name)]
    others = [each for each in facts.deployments if not facts.traffic.get(each.name)]
    return (
        _callers_hurt(facts, serving)
        or _rollout_failed(serving, others)
        or _under_way(serving, others)
        or _short(serving, others, mirror=facts.mirror)
        or _without_callers(serving, others)
        or _fine(facts, serving)
    )


def _callers_hurt(facts: EndpointFacts, serving: Sequence[DeploymentFacts]) -> Truth | None:
    load = facts.load
    if facts.router_says:
        return Truth("fail", "Not served", "The router does not serve it.", facts.router_says, NEEDS_YOU)
    for each in serving:
        if each.ready == 0 and each.state in ("failed", "degraded"):
            share = facts.traffic[each.name]
            rest = f"{each.name} has {share} % of the traffic and no ready replica; its callers get 503. {_why(each)}"
            return Truth("fail", "Failed", "Not answering.", rest.strip(), NEEDS_YOU)
    if load and load.turned_away >= _NOTABLE_SHARE:
        full = _full(serving)
        rest = f"{full}{percent(load.turned_away)} got 429 in the last minute."
        return Truth("warn", "Degraded", "Turning callers away.", rest, NEEDS_YOU)
    if load and load.failed >= 10 * _NOTABLE_SHARE:
        rest = f"{percent(load.failed)} got 5xx in the last minute. Look at the logs."
        return Truth("warn", "Degraded", "Failing for some callers.", rest, NEEDS_YOU)
    return None


def _rollout_failed(serving: Sequence[DeploymentFacts], others: Sequence[DeploymentFacts]) -> Truth | None:
    failed = next((each for each in [*serving, *others] if each.state == "failed"), None)
    if failed is None:
        return None
    name = f": {failed.cause}" if failed.cause else ""
    rest = " ".join(part for part in (failed.text, _who_answers(serving, but=failed)) if part)
    return Truth("fail", "Failed", f"Rollout of {failed.name} failed{name}.", rest, NEEDS_YOU)


def _under_way(serving: Sequence[DeploymentFacts], others: Sequence[DeploymentFacts]) -> Truth | None:
    updating = next((each for each in [*others, *serving] if each.state == "updating"), None)
    if updating is not None:
        rest = f"{replicas(updating)} {_still(serving, but=updating)}".strip()
        return Truth("run", "Rolling out", f"Rolling out {updating.name}.", rest, WATCH)
    scaling = next((each for each in [*serving, *others] if each.state == "scaling"), None)
    if scaling is not None and scaling in serving and scaling.ready == 0:
        rest = "No replica is ready yet; callers wait for the first one, or get 503 when that takes too long."
        return Truth("run", "Starting", f"Starting {scaling.name}.", rest, WATCH)
    if scaling is not None:
        rest = replicas(scaling)
        return Truth("run", "Scaling", f"Scaling {scaling.name}.", rest, WATCH)
    return None


def _short(
    serving: Sequence[DeploymentFacts], others: Sequence[DeploymentFacts], *, mirror: Mapping[str, int]
) -> Truth | None:
    for each in serving:
        if each.state == "degraded":
            return Truth("warn", "Degraded", f"Answering everyone; {each.name} is short.", _why(each), WATCH)
    for each in others:
        if each.state == "degraded":
            role = "the mirror" if mirror.get(each.name) else each.name
            harm = "It only gets copies." if mirror.get(each.name) else "It has no traffic."
            return Truth("warn", "Degraded", f"Answering everyone; {role} is short.", f"{_why(each)} {harm}", WATCH)
    silent = next((each for each in serving if each.state == "unknown"), None)
    if silent is not None:
        rest = f"Nothing is known of {silent.name} now; callers may well be served."
        return Truth("idle", "Not reporting", "Not reporting.", rest, WATCH)
    return None


def _without_callers(serving: Sequence[DeploymentFacts], others: Sequence[DeploymentFacts]) -> Truth | None:
    if not serving:
        names = _and(each.name for each in others)
        rest = f"Callers get 404. Give {names} a share, or delete the endpoint."
        return Truth("idle", "Idle", "No deployment has traffic.", rest, IDLE)
    if all(each.state == "stopped" for each in serving):
        rest = f"{_and(each.name for each in serving)} has no replica; the first call waits for one."
        return Truth("idle", "Scaled to 0", "Scaled to 0.", rest, IDLE)
    return None


def _fine(facts: EndpointFacts, serving: Sequence[DeploymentFacts]) -> Truth:
    ready, wanted = sum(each.ready or 0 for each in serving), sum(each.wanted or 0 for each in serving)
    rest = f"{ready} of {wanted} replicas ready." if ready == wanted else f"{ready} replicas ready, {wanted} wanted."
    if facts.load and facts.load.rps > 0:
        p95 = f", p95 {milliseconds(facts.load.p95_ms)}" if facts.load.p95_ms is not None else ""
        rest = f"{per_second(facts.load.rps)} requests a second{p95}."
    elif facts.load:
        rest = f"Nobody called in the last minute. {rest}"
    return Truth("ok", "Healthy", "Answering everyone.", rest, FINE)


def _who_answers(serving: Sequence[DeploymentFacts], *, but: DeploymentFacts) -> str:
    able = [each for each in serving if each.name != but.name and each.ready]
    if but in serving:
        return "The replicas that were ready go on answering." if but.ready else ""
    if not able:
        return "It has no traffic." if not serving else ""
    verb = "answers" if len(able) == 1 else "answer"
    return f"Callers are not affected; {_and(each.name for each in able)} {verb} them all."


def _still(serving: Sequence[DeploymentFacts], *, but: DeploymentFacts) -> str:
    names = [each.name for each in serving if each.name != but.name]
    if but in serving:
        return "The old replicas answer until the new ones are ready." if but.ready else ""
    return f"Callers still get {_and(names)}." if names else "It has no traffic yet."


def _full(serving: Sequence[DeploymentFacts]) -> str:
    ready = sum(each.ready or 0 for each in serving)
    if not ready:
        return ""
    return "Its replica is full. " if ready == 1 else f"All {ready} replicas are full. "


def _why(each: DeploymentFacts) -> str:
    if each.cause and each.text and not each.text.startswith(each.cause):
        return f"{each.cause}: {each.text}"
    return each.text or replicas(each)


def replicas(each: DeploymentFacts) -> str:
    """1 of 3 replicas is ready."""
    if each.ready is None or each.wanted is None:
        return ""
    verb = "is" if each.ready == 1 else "are"
    return f"{each.ready} of {each.wanted} {'replica' if each.wanted == 1 else 'replicas'} {verb} ready."


def per_second(rps: float) -> str:
    """412, 3.4, 0.02: as many digits as say something."""
    return f"{rps:,.0f}" if rps >= 10 else f"{rps:.1f}" if rps >= 0.1 else f"{rps:.2f}"


def milliseconds(value: float | None) -> str:
    """61 ms."""
    return "–" if value is None else f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def percent(share: float) -> str:
    """3.1 %."""
    return f"{share * 100:.1f} %"


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}" if listed else ""
