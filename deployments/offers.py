"""What can follow a rollout that has ended: change it, try it again, or go back to the revision before it.

Only for the newest revision of a deployment that is still there and not busy: what an older rollout would offer is not
what anybody wants any more.
"""

from collections.abc import Sequence

from django.urls import reverse

from deployments.models import Deployment
from deployments.queries.desired import last_good_revision
from deployments.services.busy import unfinished_of
from studio.models import Operation, OperationState
from studio.offers import Offer


def offers_after_rollout(op: Operation) -> Sequence[Offer]:
    """The buttons of an ended rollout. At most three queries."""
    rows = Deployment.objects.select_related("endpoint__workspace")
    deployment = rows.filter(pk=op.params.get("deployment"), revision=op.params.get("revision"), deleting=False).first()
    if deployment is None or deployment.endpoint.deleting or unfinished_of("deployment", deployment.pk):
        return ()
    if op.state == OperationState.SUCCEEDED:
        back = roll_back(deployment)
        return (back,) if back else ()
    return (
        Offer(
            name="again",
            label="Deploy again",
            url=_url("deployment-again", deployment),
            icon="rotate",
            fields={"revision": str(deployment.revision)},
        ),
        Offer(
            name="change",
            label="Change and deploy again",
            url=_url("deployment-edit", deployment),
            icon="edit",
            primary=True,
        ),
    )


def roll_back(deployment: Deployment) -> Offer | None:
    """The way back to the newest revision that worked before the one that runs; None where there is none."""
    good = last_good_revision(deployment, before=deployment.applied_revision)
    if not good:
        return None
    return Offer(
        name=f"roll-back-{deployment.name}",
        label=f"Roll back to revision {good}",
        url=_url("deployment-again", deployment),
        fields={"revision": str(good)},
        question=f"Roll {deployment.name} back to revision {good}?",
        harm=f"What revision {good} asked for is deployed again, as revision {deployment.revision + 1}. The replicas "
        f"of revision {deployment.applied_revision} answer until the new ones are ready.",
        keep=f"Keep revision {deployment.applied_revision}",
    )


def _url(name: str, deployment: Deployment) -> str:
    endpoint = deployment.endpoint
    return reverse(f"deployments:{name}", args=[endpoint.workspace.name, endpoint.name, deployment.name])
