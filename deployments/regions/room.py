"""Will it fit? What each instance type of a cluster gives a replica, and how many more of them have room now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clusters.capacity import Node, from_json, how_many_fit
from clusters.models import Cluster
from clusters.quantities import amount, in_words
from clusters.queries import sizes_of
from clusters.sizes import Size
from deployments.models import Endpoint
from deployments.specs import DEFAULT_INSTANCE_TYPE


@dataclass(frozen=True, slots=True)
class SizeChoice:
    """One instance type to choose. `room` None: the cluster's nodes are not known."""

    name: str
    text: str  # "4 cores, 8 GiB"
    room: int | None
    why_none: str

    @property
    def shape(self) -> str:
        """ok, warn or idle."""
        return "idle" if self.room is None else "ok" if self.room else "warn"

    @property
    def said(self) -> str:
        """fits now: 3 more."""
        return "room not known" if self.room is None else f"fits now: {self.room:,} more"


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """Will these replicas fit? A shape, and the sentence in two parts."""

    shape: str
    strong: str
    rest: str
    instead: str = ""


def size_choices(cluster: Cluster) -> list[SizeChoice]:
    """The cluster's instance types, the built-in one among them. One query."""
    nodes = from_json(cluster.nodes)
    ordered = sorted(sizes_of(cluster), key=lambda size: (size.name != DEFAULT_INSTANCE_TYPE, _weight(size)))
    return [_choice(size, nodes) for size in ordered]


def room_for(endpoint: Endpoint, *, instance_type: str) -> str:
    """A sentence: how many more replicas of a size the endpoint's cluster has room for. One query."""
    cluster = endpoint.target.cluster
    choice = next((each for each in size_choices(cluster) if each.name == instance_type), None)
    if choice is None or choice.room is None:
        return f"Not known: {cluster} has not told its nodes."
    if choice.room == 0:
        return f"{cluster} has room for 0 more {instance_type}. The next replica would wait. {choice.why_none}"
    return f"{cluster} has room for {choice.room:,} more {instance_type}."


def answer_fit(choices: Sequence[SizeChoice], *, instance_type: str, replicas: int, cluster: str) -> FitAnswer:
    """Whether `replicas` more of a size fit now, and which size would."""
    chosen = next((each for each in choices if each.name == instance_type), None)
    count = f"{replicas} {'replica' if replicas == 1 else 'replicas'} of {instance_type}"
    if chosen is None:
        return FitAnswer("idle", "Choose an instance type.", "It says what one replica gets.")
    if chosen.room is None:
        return FitAnswer("idle", "Not known.", f"{cluster} has not told its nodes yet, so the room is not known.")
    if chosen.room >= replicas:
        return FitAnswer(
            "ok", "Yes, now.", f"{count} {'fits' if replicas == 1 else 'fit'}; {cluster} has room for {chosen.room:,}."
        )
    others = [f"{each.name} fits {each.room:,} times" for each in choices if (each.room or 0) >= max(replicas, 1)]
    verb = "does" if replicas == 1 else "do"
    rest = f"{count} {verb} not fit on {cluster}, which has room for {chosen.room:,}. {chosen.why_none}"
    return FitAnswer("warn", "Not now.", rest.strip(), instead=f"{'; '.join(others[:3])}." if others else "")


def _weight(size: Size) -> tuple[int, int]:
    asked = _asked(size)
    return amount("cpu", asked.get("cpu", "0")), amount("memory", asked.get("memory", "0"))


def _asked(size: Size) -> dict[str, Any]:
    return {**size.limits, **size.requests}


def _choice(size: Size, nodes: Sequence[Node]) -> SizeChoice:
    fit = how_many_fit(size, nodes) if nodes else None
    return SizeChoice(
        name=size.name,
        text=size_text(size),
        room=fit.count if fit else None,
        why_none=fit.why if fit else "",
    )


def size_text(size: Size) -> str:
    """4 cores, 8 GiB: what one replica is given."""
    return ", ".join(in_words(name, amount(name, text)) for name, text in _asked(size).items())
