"""Endpoint: the stable name callers use; its keys and its deployments."""

from django.conf import settings
from django.db import models

from clusters.models import ComputeTarget
from deployments.models.registry import Artifact, Environment, Model
from studio.crypto import EncryptedTextField
from studio.models import Workspace


class AuthMode(models.TextChoices):
    KEY = "key", "Key"
    NONE = "none", "Nobody asks"


class Endpoint(models.Model):
    """A name, how callers sign in, and how requests are shared out."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="endpoints")
    target = models.ForeignKey(ComputeTarget, on_delete=models.PROTECT, related_name="endpoints")
    name = models.CharField(max_length=32)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    auth_mode = models.CharField(max_length=6, choices=AuthMode, default=AuthMode.KEY)
    key_revision = models.PositiveIntegerField(default=1)
    traffic = models.JSONField(default=dict)  # {"blue": 90, "green": 10}; 0 or 100 in total
    mirror = models.JSONField(default=dict)  # {"int8": 10}; at most one, at most 50
    deleting = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    # What the router says of it, written by the watcher only: {"ready": bool, "reason": ..., "message": ..., "at": ...}
    observed = models.JSONField(default=dict)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="endpoint_once_per_workspace")]

    def __str__(self) -> str:
        return self.name


class EndpointKey(models.Model):
    """A key callers may use. Only its SHA-256 enters a cluster."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=40)  # "primary", "secondary"
    value = EncryptedTextField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "name"], name="key_once_per_endpoint")]

    def __str__(self) -> str:
        return f"{self.name} key of {self.endpoint}"


class DeploymentState(models.TextChoices):
    """What the watcher sees, in the words users see. Worst first in lists."""

    FAILED = "failed", "Failed"
    DEGRADED = "degraded", "Degraded"
    UPDATING = "updating", "Updating"
    SCALING = "scaling", "Scaling"
    HEALTHY = "healthy", "Healthy"
    STOPPED = "stopped", "Scaled to 0"
    UNKNOWN = "unknown", "Not reporting"


class Deployment(models.Model):
    """One version behind an endpoint: model + environment + code + size + scale + request settings."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deployments")
    name = models.CharField(max_length=32)
    revision = models.PositiveIntegerField(default=1)  # grows with every deploy
    spec = models.JSONField()  # DeploymentSpec of the newest revision, as deployments.specs writes it
    model = models.ForeignKey(Model, null=True, on_delete=models.PROTECT, related_name="deployments")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="deployments")
    code = models.ForeignKey(Artifact, null=True, on_delete=models.PROTECT, related_name="+")
    deleting = models.BooleanField(default=False)
    # Which revision's objects lie in the cluster, 0 when none do. Written by rollout only.
    applied_revision = models.PositiveIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    # Written by the recorder only (one writer per fact).
    state = models.CharField(max_length=10, choices=DeploymentState, default=DeploymentState.UNKNOWN)
    observed = models.JSONField(default=dict)  # deployments.status.DeploymentStatus as JSON

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "name"], name="deployment_once_per_endpoint")]

    def __str__(self) -> str:
        return f"{self.endpoint} / {self.name}"


class DeploymentRevision(models.Model):
    """What was asked for at each deploy: the way back, and who did it."""

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    succeeded = models.BooleanField(null=True)  # None while its rollout runs
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["deployment", "number"], name="revision_once_per_deployment")]

    def __str__(self) -> str:
        return f"{self.deployment} revision {self.number}"
