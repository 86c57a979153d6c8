"""Rollouts."""

from celery import shared_task
from django.utils import timezone

from deployments.rollout.deploy import advance_deploy
from studio.services.operations import claimed


@shared_task(name="deployments.tasks.deploy.advance")
def advance(operation_id: str) -> None:
    """One look at a rollout."""
    with claimed(operation_id) as op:
        if op is not None:
            advance_deploy(op, now=timezone.now())
