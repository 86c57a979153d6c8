"""Moving traffic between the deployments of an endpoint: in force on every router within a second."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from deployments.models import Deployment, DeploymentRevision, Endpoint
from deployments.services.busy import refuse_deleting
from deployments.services.endpoints import subject_of
from deployments.specs import Traffic, parse_traffic
from studio.actor import Actor
from studio.errors import FieldErrors
from studio.live import notify
from studio.models import Operation
from studio.services.audit import record
from studio.services.operations import Step, start_operation

ROUTER_STEPS = (Step("apply", "Apply"), Step("routers", "In force on every router"))


def set_traffic(
    endpoint: Endpoint, *, traffic: Mapping[str, Any], mirror: Mapping[str, Any], actor: Actor
) -> Operation:
    """Share requests out as `traffic` and `mirror` (percent by deployment name) say.

    Raises FieldErrors (traffic, traffic.NAME, mirror, mirror.NAME) and BusyError.
    """
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        refuse_deleting(endpoint)
        deployments = Deployment.objects.filter(endpoint=endpoint, deleting=False)
        wanted = parse_traffic(traffic, mirror=mirror, known=[each.name for each in deployments])
        _refuse_not_running(deployments, wanted=wanted)
        before = {"traffic": endpoint.traffic, "mirror": endpoint.mirror}
        after = {"traffic": dict(wanted.shares), "mirror": dict(wanted.mirror)}
        Endpoint.objects.filter(pk=endpoint.pk).update(**after)
        record(
            actor,
            workspace=endpoint.workspace,
            action="endpoint.traffic",
            subject=subject_of(endpoint),
            before=before,
            after=after,
        )
        notify(f"endpoint-{endpoint.pk}")
        notify(f"workspace-{endpoint.workspace_id}-endpoints")
        return start_operation(
            endpoint.workspace,
            kind="set-traffic",
            title=f"Move traffic of {endpoint}: {shares_text(wanted)}"[:200],
            subject=subject_of(endpoint),
            task="deployments.tasks.routing.advance",
            steps=ROUTER_STEPS,
            actor=actor,
            params={"endpoint": endpoint.pk},
        )


def shares_text(traffic: Traffic) -> str:
    """`green 10 %, blue 90 %, mirror int8 10 %`, or `none`."""
    shares = [f"{name} {percent} %" for name, percent in sorted(traffic.shares.items(), key=lambda s: -s[1])]
    shares += [f"mirror {name} {percent} %" for name, percent in traffic.mirror.items()]
    return ", ".join(shares) or "none"


def _refuse_not_running(deployments: QuerySet[Deployment], *, wanted: Traffic) -> None:
    """A deployment that never came up would answer its share with 503."""
    errors: dict[str, list[str]] = {}
    proven = set(
        DeploymentRevision.objects.filter(deployment__in=deployments, succeeded=True).values_list(
            "deployment_id", flat=True
        )
    )
    for each in deployments:
        if each.pk in proven and each.applied_revision:
            continue
        for field, shares in (("traffic", wanted.shares), ("mirror", wanted.mirror)):
            if each.name in shares:
                errors[f"{field}.{each.name}"] = [f"Must be a deployment that runs; {each.name} does not yet."]
    if errors:
        raise FieldErrors(errors)
