"""Truthful status: every cluster is looked at again and again, and its row says what was found, and since when."""

import structlog
from celery import shared_task
from django.utils import timezone

from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.install.tokens import read_tokens
from clusters.kube.client import Kube
from clusters.kube.errors import KubeError
from clusters.models import Cluster, RouterState
from clusters.reading import read_cluster
from clusters.recorder import has_tokens, keep_tokens, operation_under_way, record_failure, record_reading
from clusters.services.attach import UNKNOWN

log = structlog.get_logger(__name__)


@shared_task(name="clusters.tasks.check.check_all")
def check_all() -> None:
    """Have every cluster looked at; one slow cluster does not hold up the others."""
    for pk in Cluster.objects.values_list("pk", flat=True):
        check.apply_async(args=[pk], expires=25)


@shared_task(name="clusters.tasks.check.check")
def check(cluster_id: int) -> None:
    """Look at one cluster."""
    cluster = Cluster.objects.filter(pk=cluster_id).first()
    if cluster is not None:
        check_now(cluster)


def check_now(cluster: Cluster) -> None:
    """Look at one cluster and write down what was found. An unreachable cluster is a finding, not an error."""
    if cluster.uid.startswith(UNKNOWN):
        return  # only attaching says whether it may be used
    before = cluster.state
    kube = kube_for(cluster)
    try:
        reading = read_cluster(kube, studio=studio_uuid())
    except KubeError as error:
        record_failure(cluster, error, now=timezone.now())
    else:
        record_reading(cluster, reading, now=timezone.now())
        if reading.router.state != RouterState.ABSENT and not reading.router.foreign:
            _adopt_tokens(cluster, kube)
    if cluster.state != before:
        log.info("Cluster changed", cluster=cluster.name, state=str(cluster.state), text=cluster.state_text)


def _adopt_tokens(cluster: Cluster, kube: Kube) -> None:
    """A cluster that was attached again, or to a second workspace, has its router already."""
    if has_tokens(cluster) or operation_under_way(cluster):
        return
    try:
        tokens = read_tokens(kube, studio=studio_uuid())
    except KubeError as error:
        log.warning("Tokens not read", cluster=cluster.name, error=str(error))
        return
    if tokens:
        keep_tokens(cluster, tokens)
