"""The push that keeps Operations from being forgotten."""

from celery import shared_task
from django.utils import timezone

from studio.services.operations import stale, wake


@shared_task(name="studio.tasks.operations.push_stale")
def push_stale() -> int:
    """Wake Operations whose worker died or whose deadline has passed. How many."""
    ids = stale(timezone.now())
    for operation_id in ids:
        wake(operation_id)
    return len(ids)
