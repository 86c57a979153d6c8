"""The Logs tab: which streams there are of an endpoint's deployments, and the one being read.

A stream is one container of one replica ("pod/<uid>/<container>/<restart>"), kept after the replica is gone; the log
of an Operation about a deployment is one as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deployments.models import Deployment, Endpoint
from deployments.regions.deployments import in_order
from studio.models import LogStream

MOST_STREAMS = 100


@dataclass(frozen=True, slots=True)
class StreamChoice:
    """One stream to read."""

    id: int
    label: str
    open: bool
    lines: int
    since: datetime


@dataclass(frozen=True, slots=True)
class LogsRegion:
    """Deployments to choose from, the streams of the chosen one, and the stream that is shown."""

    deployments: tuple[str, ...]
    deployment: str
    replicas: tuple[StreamChoice, ...]
    operations: tuple[StreamChoice, ...]
    stream: StreamChoice | None
    row: LogStream | None  # of `stream`, for the viewer


def logs_region(endpoint: Endpoint, *, deployment: str, stream_id: int | None) -> LogsRegion:
    """The streams of one deployment, newest first; without a choice the newest open one of the first. Two queries."""
    deployments: Sequence[Deployment] = in_order(list(endpoint.deployments.all()))
    chosen = next((each for each in deployments if each.name == deployment), deployments[0] if deployments else None)
    streams = _streams(endpoint, chosen) if chosen else []
    replicas = tuple(_choice(each) for each in streams if each.operation_id is None)
    operations = tuple(_choice(each) for each in streams if each.operation_id is not None)
    everything = (*replicas, *operations)
    first = next((each for each in replicas if each.open), everything[0] if everything else None)
    shown = next((each for each in everything if each.id == stream_id), first)
    return LogsRegion(
        deployments=tuple(each.name for each in deployments),
        deployment=chosen.name if chosen else "",
        replicas=replicas,
        operations=operations,
        stream=shown,
        row=next((each for each in streams if shown and each.pk == shown.id), None),
    )


def _streams(endpoint: Endpoint, deployment: Deployment) -> list[LogStream]:
    rows = LogStream.objects.filter(
        workspace_id=endpoint.workspace_id, subject_kind="deployment", subject_id=str(deployment.pk)
    )
    return list(rows.order_by("-created_at", "-pk")[:MOST_STREAMS])


def _choice(stream: LogStream) -> StreamChoice:
    return StreamChoice(
        id=stream.pk,
        label=stream.label,
        open=stream.closed_at is None,
        lines=stream.last_seq,
        since=stream.created_at,
    )
