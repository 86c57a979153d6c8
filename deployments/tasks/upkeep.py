"""What the beat does: old samples go."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from deployments.models import MetricSample, ScaleDecision

KEEP_SAMPLES = timedelta(hours=6)
KEEP_DECISIONS = timedelta(days=30)


@shared_task(name="deployments.tasks.upkeep.prune_samples")
def prune_samples() -> None:
    """Delete samples older than 6 hours and decisions older than 30 days."""
    now = timezone.now()
    MetricSample.objects.filter(at__lt=now - KEEP_SAMPLES).delete()
    ScaleDecision.objects.filter(at__lt=now - KEEP_DECISIONS).delete()
