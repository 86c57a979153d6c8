"""Attaching: the questions to a cluster, in order; each answer is a step."""

from celery import shared_task
from django.utils import timezone

from clusters.account import FILE
from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.kube.client import Kube
from clusters.kube.errors import KubeError, NotFound
from clusters.models import Cluster
from clusters.preflight import NEEDED, identity_of, missing_rights, user_of
from clusters.reading import read_cluster
from clusters.recorder import record_failure, record_reading, record_refusal
from clusters.services.attach import UNKNOWN
from clusters.tasks.causes import cause_of
from studio.models import Operation
from studio.services.operations import Cause, Fix, begin_step, cancel, claimed, fail, finish_step, say, succeed


class _Stopped(Exception):  # noqa: N818  not an error of the program: the operation has ended with a cause
    """The operation was failed; nothing more to do."""


@shared_task(name="clusters.tasks.attach.advance")
def advance(operation_id: str) -> None:
    """Ask everything, once."""
    with claimed(operation_id) as op:
        if op is None:
            return
        cluster = Cluster.objects.filter(pk=op.params["cluster"]).first()
        if cluster is None:
            cancel(op, summary="The cluster was detached meanwhile.")
        elif op.cancel_requested:
            cancel(op, summary="Cancelled. The cluster stays in the list; detach it to forget it.")
        else:
            _ask(op, cluster)


def _ask(op: Operation, cluster: Cluster) -> None:
    kube = kube_for(cluster)
    try:
        _reach(op, kube)
        _sign_in(op, kube)
        _identify(op, kube, cluster)
        _check_rights(op, kube, cluster)
        begin_step(op, "nodes")
        reading = read_cluster(kube, studio=studio_uuid())
    except _Stopped:
        return
    except KubeError as error:
        say(op, str(error), level="error")
        record_failure(cluster, error, now=timezone.now())
        fail(op, cause=cause_of(error))
        return
    _remember(cluster, uid=reading.uid)
    record_reading(cluster, reading, now=timezone.now())
    ready = sum(node.ready for node in reading.nodes)
    finish_step(op, "nodes", detail=f"{ready} of {len(reading.nodes)} ready")
    succeed(op, summary=f"{cluster} is connected: Kubernetes {reading.version}, {ready} nodes ready.")


def _remember(cluster: Cluster, *, uid: str) -> None:
    """From here on this row is that cluster: every check passed."""
    if cluster.uid != uid:
        cluster.uid = uid
        cluster.save(update_fields=["uid"])


def _reach(op: Operation, kube: Kube) -> None:
    begin_step(op, "reach")
    say(op, f"Reaching {kube.server}")
    version = kube.version()
    finish_step(op, "reach", detail="It answers.")
    finish_step(op, "version", detail=version)


def _sign_in(op: Operation, kube: Kube) -> None:
    begin_step(op, "sign-in")
    user = user_of(kube)
    finish_step(op, "sign-in", detail=f"As {user}." if user else "Accepted.")


def _identify(op: Operation, kube: Kube, cluster: Cluster) -> None:
    begin_step(op, "identify")
    uid = identity_of(kube)
    twin = Cluster.objects.filter(workspace=cluster.workspace, uid=uid).exclude(pk=cluster.pk).first()
    if twin:
        _stop(op, cluster, _already(cluster, twin))
    if not cluster.uid.startswith(UNKNOWN) and cluster.uid != uid:
        _stop(
            op,
            cluster,
            Cause(
                name="ClusterChanged",
                text=f"Another cluster answers at {cluster.server} than the one that was attached as {cluster}.",
                proof=f"kube-system was {cluster.uid}, is {uid}",
                fixes=(Fix("Attach the new cluster under a name of its own, and detach this one."),),
            ),
        )
    finish_step(op, "identify", detail=f"kube-system is {uid}")


def _already(cluster: Cluster, twin: Cluster) -> Cause:
    return Cause(
        name="ClusterAlreadyAttached",
        text=f"This cluster is attached to {cluster.workspace} already, as {twin}.",
        fixes=(Fix(f"Use {twin}, and detach {cluster}."),),
    )


def _check_rights(op: Operation, kube: Kube, cluster: Cluster) -> None:
    begin_step(op, "rights")
    try:
        missing = missing_rights(kube)
    except NotFound:
        finish_step(op, "rights", detail="This cluster cannot be asked about rights.")
        return
    if missing:
        _stop(
            op,
            cluster,
            Cause(
                name="ClusterRightsMissing",
                text=f"The account of the kubeconfig lacks {len(missing)} of {len(NEEDED)} rights Slipway needs.",
                proof="\n".join(str(each) for each in missing),
                fixes=(
                    Fix(
                        f"Get {FILE} from the page Attach a cluster: it makes an account with all of them. Or add them "
                        "to a role of this account. Then check again.",
                        command=f"kubectl apply -f {FILE}",
                    ),
                ),
            ),
        )
    finish_step(op, "rights", detail=f"All {len(NEEDED)} rights are there.")


def _stop(op: Operation, cluster: Cluster, cause: Cause) -> None:
    say(op, cause.text, level="error")
    record_refusal(cluster, cause.text, now=timezone.now())
    fail(op, cause=cause)
    raise _Stopped
