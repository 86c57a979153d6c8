"""What the routers measured and decided, pulled once a second, kept for the charts."""

from django.db import models

from clusters.models import Cluster
from deployments.models.endpoint import Deployment


class MetricSample(models.Model):
    """One second of one deployment at one router, as routerd's admin API says it."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="samples")
    router = models.CharField(max_length=120)
    at = models.DateTimeField()
    seconds = models.FloatField()  # length of the window
    ok = models.PositiveIntegerField()  # 2xx
    refused = models.PositiveIntegerField()  # 4xx but 429
    turned_away = models.PositiveIntegerField()  # 429
    failed = models.PositiveIntegerField()  # 5xx
    p50_ms = models.FloatField(null=True)  # null: no request in the window
    p95_ms = models.FloatField(null=True)
    p99_ms = models.FloatField(null=True)
    in_flight = models.FloatField()
    queued = models.FloatField()
    concurrency = models.PositiveIntegerField()  # slots of one replica
    replicas_ready = models.PositiveIntegerField()
    replicas_wanted = models.PositiveIntegerField()

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["deployment", "at"]), models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.deployment_id} at {self.at:%H:%M:%S}"


class ScaleDecision(models.Model):
    """A change of the replicas wanted, with its reason."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="decisions")
    router = models.CharField(max_length=120)
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    before = models.PositiveIntegerField()
    after = models.PositiveIntegerField()
    reason = models.CharField(max_length=300)
    figures = models.JSONField(default=dict)
    ready_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-at"]
        constraints = [models.UniqueConstraint(fields=["router", "seq"], name="decision_once")]

    def __str__(self) -> str:
        return f"{self.before} to {self.after}: {self.reason}"


class RouterCursor(models.Model):
    """How far the studio has read the rings of one router pod."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="+")
    router = models.CharField(max_length=120, unique=True)
    samples_after = models.BigIntegerField(default=0)
    decisions_after = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.router
