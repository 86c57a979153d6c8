"""Attaching, checking again and detaching clusters.

A row is written at once, so that the page can show what happens; its UID is a placeholder until the cluster has told
its own. Attaching under a name that is taken means new credentials for that cluster, and is refused when another
cluster answers to them.
"""

import re
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from clusters.connections import forget
from clusters.kube.client import Kube
from clusters.kube.connection import Connection, KubeconfigError, parse_kubeconfig
from clusters.kube.errors import KubeError
from clusters.models import Cluster, ClusterState
from clusters.preflight import identity_of
from clusters.recorder import changed
from clusters.services.subjects import refuse_busy, subject_of, unfinished_of
from studio.actor import Actor
from studio.errors import FieldErrors, SlipwayError
from studio.models import Operation, Workspace
from studio.services.audit import record
from studio.services.operations import Step, start_operation

UNKNOWN = "unknown-"  # begins the uid of a cluster that has not told its own yet
NAME = re.compile(r"^[a-z]([a-z0-9]|-(?!-)){0,30}[a-z0-9]$")
NAME_RULE = "Must be 2 to 32 lower-case letters, digits or single dashes, beginning with a letter."
RESERVED = ("attach", "new")
STEPS = (
    Step("reach", "Reach the API server"),
    Step("sign-in", "Sign in"),
    Step("identify", "Identify"),
    Step("version", "Read version"),
    Step("rights", "Check rights"),
    Step("nodes", "Read nodes"),
)


def attach_cluster(
    workspace: Workspace,
    *,
    name: str,
    kubeconfig_text: str,
    context: str | None,
    actor: Actor,
    allow_insecure: bool = False,
) -> tuple[Cluster, Operation]:
    """Attach, or attach again with new credentials. Raises FieldErrors at `name` or `kubeconfig`.

    Asked twice with the same credentials, it gives back what is under way or was done.
    """
    if not NAME.match(name) or name in RESERVED:
        raise FieldErrors({"name": [NAME_RULE if name not in RESERVED else f"Must not be {name}."]})
    connection = _read(kubeconfig_text, context=context, allow_insecure=allow_insecure)
    before = Cluster.objects.filter(workspace=workspace, name=name).first()
    if before:
        return _attach_again(before, connection=connection, actor=actor)
    try:
        with transaction.atomic():
            cluster = Cluster.objects.create(
                workspace=workspace,
                name=name,
                uid=f"{UNKNOWN}{uuid.uuid4()}",
                server=connection.server,
                connection=connection.to_json(),
                state_since=timezone.now(),
            )
            return cluster, _start(cluster, actor=actor, action="cluster.attach", before=None)
    except IntegrityError as error:
        raise FieldErrors({"name": [f"There is already a cluster {name}."]}) from error


def check_cluster(cluster: Cluster, *, actor: Actor) -> Operation:
    """Go through all checks of attaching again."""
    with transaction.atomic():
        running = unfinished_of(cluster)
        return running or _operation(cluster, title=f"Check {cluster}", actor=actor)


def detach_cluster(cluster: Cluster, *, actor: Actor) -> None:
    """Forget a cluster and its credentials. Nothing in the cluster changes. Raises SlipwayError while it is used."""
    refuse_busy(cluster)
    targets = list(cluster.compute_targets.values_list("name", flat=True))
    if targets:
        raise SlipwayError(
            f"Cluster {cluster} still has the compute targets {', '.join(targets)}. Delete them first, then detach."
        )
    with transaction.atomic():
        record(
            actor,
            workspace=cluster.workspace,
            action="cluster.detach",
            subject=subject_of(cluster),
            before=_summary(cluster),
        )
        changed(cluster)
        pk = cluster.pk
        cluster.delete()
    forget(pk)


def _read(text: str, *, context: str | None, allow_insecure: bool) -> Connection:
    try:
        return parse_kubeconfig(text, context=context or None, allow_insecure=allow_insecure)
    except KubeconfigError as error:
        raise FieldErrors({"kubeconfig": [str(error)]}) from error


def _attach_again(cluster: Cluster, *, connection: Connection, actor: Actor) -> tuple[Cluster, Operation]:
    if cluster.connection == connection.to_json():
        known = _last_attach(cluster)
        if known and (not known.finished or cluster.state == ClusterState.CONNECTED):
            return cluster, known
    elif not cluster.uid.startswith(UNKNOWN):
        _refuse_another(cluster, connection=connection)
    refuse_busy(cluster)
    before = _summary(cluster)
    with transaction.atomic():
        cluster.connection, cluster.server = connection.to_json(), connection.server
        cluster.save(update_fields=["connection", "server"])
        return cluster, _start(cluster, actor=actor, action="cluster.reattach", before=before)


def _refuse_another(cluster: Cluster, *, connection: Connection) -> None:
    """The new credentials must lead to the same cluster; asked before the old ones are given up."""
    kube = Kube(connection)
    try:
        found = identity_of(kube)
    except KubeError as error:
        raise FieldErrors({"kubeconfig": [f"The credentials were not changed. {error}"]}) from error
    finally:
        kube.close()
    if found != cluster.uid:
        raise FieldErrors(
            {"name": [f"{cluster} is another cluster than the one that answers here. Must be a name not yet used."]}
        )


def _start(cluster: Cluster, *, actor: Actor, action: str, before: dict[str, Any] | None) -> Operation:
    record(
        actor,
        workspace=cluster.workspace,
        action=action,
        subject=subject_of(cluster),
        before=before,
        after=_summary(cluster),
    )
    changed(cluster)
    return _operation(cluster, title=f"Attach {cluster}", actor=actor)


def _operation(cluster: Cluster, *, title: str, actor: Actor) -> Operation:
    return start_operation(
        cluster.workspace,
        kind="attach-cluster",
        title=title,
        subject=subject_of(cluster),
        task="clusters.tasks.attach.advance",
        steps=STEPS,
        actor=actor,
        params={"cluster": cluster.pk},
        summary=f"Reaching {cluster.server}.",
    )


def _last_attach(cluster: Cluster) -> Operation | None:
    return (
        Operation.objects.filter(kind="attach-cluster", subject_kind="cluster", subject_id=str(cluster.pk))
        .order_by("-created_at")
        .first()
    )


def _summary(cluster: Cluster) -> dict[str, Any]:
    return {"name": cluster.name, "server": cluster.server, "uid": cluster.uid}
