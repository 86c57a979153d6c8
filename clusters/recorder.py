"""The one place that writes what a look at a cluster found into its row, and tells the pages."""

from datetime import datetime
from typing import Any

from clusters.capacity import to_json
from clusters.install.manifests import Secrets
from clusters.install.settings import from_json as settings_from_json
from clusters.kube.errors import KubeError, Unauthorized
from clusters.models import Cluster, ClusterState, RouterState
from clusters.reading import Reading, RouterReading
from studio.live import notify
from studio.models import UNFINISHED, Operation

INSTALL = "install-router"
UNINSTALL = "uninstall-router"


def changed(cluster: Cluster) -> None:
    """Tell the pages that show this cluster."""
    notify(f"cluster-{cluster.pk}")
    notify(f"workspace-{cluster.workspace_id}-clusters")


def record_reading(cluster: Cluster, reading: Reading, *, now: datetime) -> None:
    """The cluster answered."""
    if cluster.uid != reading.uid:
        text = "Another cluster answers at this address: its kube-system namespace has another UID."
        _write(cluster, {"state": ClusterState.UNREACHABLE, "state_text": text}, now=now)
        return
    values: dict[str, Any] = {
        "state": ClusterState.CONNECTED,
        "state_text": "",
        "version": reading.version[:40],
        "runtime": reading.runtime[:20],
        "nodes": to_json(reading.nodes),
    }
    _write(cluster, values | _router_values(cluster, reading.router), now=now)


def record_failure(cluster: Cluster, error: KubeError, *, now: datetime) -> None:
    """The cluster did not answer, or not us. What was known stays, with its age."""
    state = ClusterState.UNAUTHORIZED if isinstance(error, Unauthorized) else ClusterState.UNREACHABLE
    cause = error.cause.strip()
    _write(cluster, {"state": state, "state_text": _as_sentence(cause)[:500]}, now=now)


def record_refusal(cluster: Cluster, text: str, *, now: datetime) -> None:
    """The cluster answered, but Slipway may not or must not work in it; `text` says why."""
    _write(cluster, {"state": ClusterState.UNAUTHORIZED, "state_text": text[:500]}, now=now)


def set_router_state(cluster: Cluster, state: RouterState, *, text: str = "") -> None:
    """What an operation on the router knows before the next look does; on every row of the same cluster."""
    rows = Cluster.objects.filter(uid=cluster.uid) if cluster.uid else Cluster.objects.filter(pk=cluster.pk)
    rows.update(router_state=state, router_text=text[:500])
    cluster.router_state, cluster.router_text = state, text[:500]
    for row in rows.only("pk", "workspace_id"):
        changed(row)


def _router_values(cluster: Cluster, seen: RouterReading) -> dict[str, Any]:
    state = router_state(before=RouterState(cluster.router_state), seen=seen.state, busy=operation_under_way(cluster))
    text = seen.text
    if state == RouterState.FAILED or (state == RouterState.INSTALLING and not text):
        text = cluster.router_text
    if seen.foreign:
        text = f"Installed by another Slipway studio. {text}"
    settings = settings_from_json(cluster.router_settings)
    return {
        "router_state": state,
        "router_text": text[:500],
        "router_version": seen.version[:40],
        "router_address": (settings.address or seen.address) if seen.state != RouterState.ABSENT else "",
    }


def router_state(*, before: RouterState, seen: RouterState, busy: bool) -> RouterState:
    """The state to show: an operation under way and a failed one are known from the row, the rest from the cluster."""
    if busy:
        return RouterState.INSTALLING
    if seen == RouterState.READY:
        return RouterState.READY
    return RouterState.FAILED if before == RouterState.FAILED else seen


def operation_under_way(cluster: Cluster) -> bool:
    """Whether the router is just being installed or removed."""
    return Operation.objects.filter(
        kind__in=(INSTALL, UNINSTALL), subject_kind="cluster", subject_id=str(cluster.pk), state__in=UNFINISHED
    ).exists()


def _write(cluster: Cluster, values: dict[str, Any], *, now: datetime) -> None:
    if values["state"] != cluster.state or cluster.state_since is None:
        values["state_since"] = now
    seen_change = any(getattr(cluster, name) != value for name, value in values.items())
    for name, value in (values | {"checked_at": now}).items():
        setattr(cluster, name, value)
    cluster.save(update_fields=[*values, "checked_at"])
    if seen_change:
        changed(cluster)


def keep_tokens(cluster: Cluster, tokens: Secrets) -> None:
    """Remember what router and cache know us by, on every row of the same cluster."""
    values = {
        "admin_token": tokens.admin_token,
        "artifacts_upload_token": tokens.upload_token,
        "artifacts_signing_key": tokens.signing_key,
    }
    Cluster.objects.filter(uid=cluster.uid).update(**values)
    for name, value in values.items():
        setattr(cluster, name, value)


def has_tokens(cluster: Cluster) -> bool:
    return bool(cluster.admin_token and cluster.artifacts_upload_token and cluster.artifacts_signing_key)


def keep_address(cluster: Cluster, address: str) -> None:
    """Where callers reach the router, on every row of the same cluster."""
    Cluster.objects.filter(uid=cluster.uid).update(router_address=address[:300])
    cluster.router_address = address[:300]


def _as_sentence(cause: str) -> str:
    """`cause` with a capital, unless it begins with an address."""
    return cause if "://" in cause.partition(" ")[0] else f"{cause[:1].upper()}{cause[1:]}"
