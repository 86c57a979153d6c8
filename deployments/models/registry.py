"""What is registered once and deployed many times: artifacts, models, environments."""

from django.conf import settings
from django.db import models

from clusters.models import Cluster
from studio.models import Operation, Workspace


class Artifact(models.Model):
    """A content-addressed file the studio keeps: a model's files or a deployment's code, as one .tar.gz.

    The same content is kept once, but only a workspace that brought it may deploy it: knowing a digest is no right.
    """

    digest = models.CharField(max_length=64, primary_key=True)  # SHA-256, hex
    size = models.BigIntegerField()  # bytes
    file = models.FileField(upload_to="artifacts/")
    files = models.JSONField(default=list)  # [{"path": "model.pkl", "size": 1234}, ...]
    workspaces = models.ManyToManyField(Workspace, related_name="artifacts")  # who brought it
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.digest[:12]


class Model(models.Model):
    """A version of a model: name, version, files."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="models")
    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "-version"]
        constraints = [models.UniqueConstraint(fields=["workspace", "name", "version"], name="model_version_once")]

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class Environment(models.Model):
    """A version of what a model runs in: an image that exists, or a definition that is built."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="environments")
    name = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    image = models.CharField(max_length=500, blank=True)  # set: used as it is
    requirements = models.TextField(blank=True)  # else: pip requirements
    python_version = models.CharField(max_length=10, default="3.11")
    definition_hash = models.CharField(max_length=64, blank=True)  # SHA-256 of the normalised definition
    description = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name", "version"], name="environment_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class BuildState(models.TextChoices):
    BUILDING = "building", "Building"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class EnvironmentImage(models.Model):
    """The image of one definition on one cluster; many Environments with the same hash share it."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="+")
    definition_hash = models.CharField(max_length=64)
    reference = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=BuildState, default=BuildState.BUILDING)
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="+")
    cause = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "definition_hash"], name="image_once_per_cluster")]

    def __str__(self) -> str:
        return self.reference
