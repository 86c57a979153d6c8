"""What operations and the audit call this app's nouns, and how errors of a cluster are told to people."""

from collections.abc import Iterator
from contextlib import contextmanager

from clusters.kube.errors import KubeError
from clusters.models import Cluster, ComputeTarget, InstanceType
from clusters.recorder import INSTALL, UNINSTALL
from studio.errors import SlipwayError
from studio.models import UNFINISHED, Operation
from studio.services.operations import Subject

__all__ = ["INSTALL", "UNINSTALL", "refuse_busy", "subject_of", "told", "type_subject", "unfinished_of"]


class ClusterError(SlipwayError):
    """A cluster refused, or did not answer."""

    status = 502


@contextmanager
def told(cluster: Cluster) -> Iterator[None]:
    """Errors of the way to the cluster, as errors of the page."""
    try:
        yield
    except KubeError as error:
        raise ClusterError(f"Cluster {cluster}: {error}") from error


def subject_of(noun: Cluster | ComputeTarget) -> Subject:
    """("cluster", "3", "quay-prod") or ("compute-target", ...)."""
    kind = "cluster" if isinstance(noun, Cluster) else "compute-target"
    return Subject(kind, str(noun.pk), str(noun))


def type_subject(row: InstanceType) -> Subject:
    return Subject("instance-type", str(row.pk), f"{row.cluster} / {row.name}")


def unfinished_of(cluster: Cluster) -> Operation | None:
    """What is under way on this cluster itself, the oldest first."""
    return (
        Operation.objects.filter(subject_kind="cluster", subject_id=str(cluster.pk), state__in=UNFINISHED)
        .order_by("created_at")
        .first()
    )


def refuse_busy(cluster: Cluster) -> None:
    """Raise SlipwayError while an operation on this cluster is under way."""
    found = unfinished_of(cluster)
    if found:
        raise SlipwayError(f"Cluster {cluster} is busy: {found.title} is under way. Wait for its end, or cancel it.")
