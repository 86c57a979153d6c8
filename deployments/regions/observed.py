"""What the recorder wrote of a deployment, as pages need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.models import DeploymentState
from deployments.status import ReplicaStatus, status_from_json


@dataclass(frozen=True, slots=True)
class Replica:
    """One cell. `state` is ready, starting, leaving or failed."""

    name: str
    state: str
    text: str

    @property
    def title(self) -> str:
        """blue-7c4: Ready."""
        return f"{self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment as it was seen last. None means not reporting."""

    ready: int | None
    wanted: int | None
    sentence: str
    cause: str
    why: str  # the cause in words, else the sentence
    replicas: tuple[Replica, ...]


def read_observed(observed: Mapping[str, Any], *, state: str) -> Seen:
    """The recorder's words of a deployment in this state; nothing known while it has not written any."""
    status = status_from_json(dict(observed))
    if status is None:
        silent = "Nothing has been heard of it yet."
        return Seen(ready=None, wanted=None, sentence=silent, cause="", why=silent, replicas=())
    known = state != DeploymentState.UNKNOWN
    return Seen(
        ready=status.ready if known else None,
        wanted=status.wanted if known else None,
        sentence=status.sentence,
        cause=status.cause.name if status.cause else "",
        why=status.cause.text if status.cause else status.sentence,
        replicas=tuple(_replica(each) for each in status.replicas),
    )


def _replica(each: ReplicaStatus) -> Replica:
    state = each.phase if each.phase in ("ready", "failed", "leaving") else "starting"
    cause = f"{each.cause.name}. " if each.cause else ""
    return Replica(name=each.name, state=state, text=f"{cause}{each.sentence}")
