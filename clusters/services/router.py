"""Installing the router into a cluster, changing its settings, and removing it."""

from typing import Any

from django.db import transaction

from clusters.install.settings import RouterSettings, check_settings, to_json
from clusters.models import Cluster, ClusterState, ComputeTarget, RouterState
from clusters.recorder import set_router_state
from clusters.services.subjects import INSTALL, UNINSTALL, refuse_busy, subject_of
from studio.actor import Actor
from studio.errors import SlipwayError
from studio.models import Operation
from studio.services.audit import record
from studio.services.operations import Step, start_operation

INSTALL_STEPS = (
    Step("namespace", "Namespace"),
    Step("definitions", "Definitions"),
    Step("rights", "Rights"),
    Step("router", "Router"),
    Step("artifacts", "Artifact cache"),
    Step("address", "Address"),
)
UNINSTALL_STEPS = (
    Step("workloads", "Router and artifact cache"),
    Step("rights", "Rights"),
    Step("definitions", "Definitions"),
    Step("namespace", "Namespace"),
)


def install_router(cluster: Cluster, *, settings: RouterSettings, actor: Actor) -> Operation:
    """Install the router, or change how it is installed. Raises FieldErrors by the settings' names, SlipwayError."""
    checked = check_settings(settings, runtime=cluster.runtime)
    if cluster.state != ClusterState.CONNECTED:
        raise SlipwayError(f"Cluster {cluster} is not connected: {cluster.state_text or 'it is being checked'}.")
    refuse_busy(cluster)
    before = cluster.router_settings
    with transaction.atomic():
        # The same cluster may be attached to other workspaces: they all see the one router.
        Cluster.objects.filter(uid=cluster.uid).update(router_settings=to_json(checked))
        cluster.router_settings = to_json(checked)
        set_router_state(cluster, RouterState.INSTALLING, text="The router is being installed.")
        _audit(actor, cluster, action="router.install", before=before, after=to_json(checked))
        return start_operation(
            cluster.workspace,
            kind=INSTALL,
            title=f"Install the router in {cluster}",
            subject=subject_of(cluster),
            task="clusters.tasks.install.advance",
            steps=INSTALL_STEPS,
            actor=actor,
            params={"cluster": cluster.pk},
            summary="Looking at what is there.",
        )


def uninstall_router(cluster: Cluster, *, actor: Actor) -> Operation:
    """Remove exactly what was installed. Raises SlipwayError while endpoints need the router."""
    refuse_busy(cluster)
    if cluster.router_state == RouterState.ABSENT:
        raise SlipwayError(f"Cluster {cluster} has no router. Nothing was changed.")
    used = ComputeTarget.objects.filter(cluster__uid=cluster.uid, endpoints__isnull=False).distinct()
    if used.exists():
        names = ", ".join(sorted(used.values_list("name", flat=True)))
        raise SlipwayError(
            f"Callers still reach endpoints on the compute targets {names} through the router of {cluster}. "
            "Delete those endpoints first."
        )
    with transaction.atomic():
        _audit(actor, cluster, action="router.uninstall", before=cluster.router_settings, after=None)
        return start_operation(
            cluster.workspace,
            kind=UNINSTALL,
            title=f"Uninstall the router from {cluster}",
            subject=subject_of(cluster),
            task="clusters.tasks.install.advance",
            steps=UNINSTALL_STEPS,
            actor=actor,
            params={"cluster": cluster.pk},
            summary="Removing the router.",
        )


def _audit(
    actor: Actor, cluster: Cluster, *, action: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    record(
        actor,
        workspace=cluster.workspace,
        action=action,
        subject=subject_of(cluster),
        before=before or None,
        after=after,
    )
