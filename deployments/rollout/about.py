"""One Operation of a rollout with everything it is about, and what its two halves, going on and ending, share."""

from dataclasses import dataclass
from datetime import datetime

from clusters.kube.client import Kube
from deployments.models import Deployment, DeploymentRevision, Endpoint
from deployments.queries.desired import WantedRevision
from studio.live import notify
from studio.models import Operation


@dataclass(frozen=True)
class Rollout:
    """One Operation with everything it is about."""

    op: Operation
    deployment: Deployment
    wanted: WantedRevision
    kube: Kube
    namespace: str
    now: datetime

    @property
    def endpoint(self) -> Endpoint:
        return self.deployment.endpoint


def mark_revision(rollout: Rollout, *, succeeded: bool) -> None:
    """Write down whether the revision worked."""
    mine = DeploymentRevision.objects.filter(deployment=rollout.deployment, number=rollout.wanted.number)
    mine.update(succeeded=succeeded)


def touch(deployment: Deployment) -> None:
    """Have the watcher look at it again: what its status depends on has changed in the rows."""
    deployment.save(update_fields=["updated_at"])
    notify(f"deployment-{deployment.pk}")
    notify(f"endpoint-{deployment.endpoint_id}")
