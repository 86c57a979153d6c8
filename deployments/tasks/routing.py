"""Traffic and keys."""

from celery import shared_task
from django.utils import timezone

from deployments.rollout.routing import advance_routing
from studio.services.operations import claimed


@shared_task(name="deployments.tasks.routing.advance")
def advance(operation_id: str) -> None:
    """One look at a change of traffic or keys."""
    with claimed(operation_id) as op:
        if op is not None:
            advance_routing(op, now=timezone.now())
