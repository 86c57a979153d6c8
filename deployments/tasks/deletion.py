"""Deletions."""

from celery import shared_task
from django.utils import timezone

from deployments.rollout.deletion import advance_deployment_deletion, advance_endpoint_deletion
from studio.services.operations import claimed


@shared_task(name="deployments.tasks.deletion.advance_deployment")
def advance_deployment(operation_id: str) -> None:
    """One look at the deletion of a deployment."""
    with claimed(operation_id) as op:
        if op is not None:
            advance_deployment_deletion(op, now=timezone.now())


@shared_task(name="deployments.tasks.deletion.advance_endpoint")
def advance_endpoint(operation_id: str) -> None:
    """One look at the deletion of an endpoint."""
    with claimed(operation_id) as op:
        if op is not None:
            advance_endpoint_deletion(op, now=timezone.now())
