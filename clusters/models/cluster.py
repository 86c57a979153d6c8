"""Cluster: a Kubernetes cluster attached to a workspace, and what lies in it of ours."""

from django.db import models

from studio.crypto import EncryptedTextField
from studio.models import Workspace


class ClusterState(models.TextChoices):
    """What the last check said of the way to the API server."""

    CHECKING = "checking", "Checking"
    CONNECTED = "connected", "Connected"
    UNREACHABLE = "unreachable", "Not reachable"
    UNAUTHORIZED = "unauthorized", "Not authorized"


class RouterState(models.TextChoices):
    """What is known of the router in the cluster."""

    ABSENT = "absent", "Not installed"
    INSTALLING = "installing", "Installing"
    READY = "ready", "Ready"
    DEGRADED = "degraded", "Degraded"
    FAILED = "failed", "Failed"


class Cluster(models.Model):
    """A cluster; the same one may be attached to several workspaces. Identity: UID of its kube-system namespace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="clusters")
    name = models.CharField(max_length=32)
    uid = models.CharField(max_length=64)
    server = models.URLField(max_length=300)
    connection = EncryptedTextField()  # JSON of clusters.kube.connection.Connection
    version = models.CharField(max_length=40, blank=True)  # "v1.33.2"
    runtime = models.CharField(max_length=20, blank=True)  # "process" on the embedded cluster
    state = models.CharField(max_length=14, choices=ClusterState, default=ClusterState.CHECKING)
    state_text = models.CharField(max_length=500, blank=True)
    state_since = models.DateTimeField(null=True)  # since when `state` is what it is
    checked_at = models.DateTimeField(null=True)  # when it was last looked at, whatever came of it
    nodes = models.JSONField(default=list)  # as clusters.capacity.Node writes them; [] while unknown
    created_at = models.DateTimeField(auto_now_add=True)

    router_state = models.CharField(max_length=12, choices=RouterState, default=RouterState.ABSENT)
    router_text = models.CharField(max_length=500, blank=True)
    router_version = models.CharField(max_length=40, blank=True)
    router_address = models.CharField(max_length=300, blank=True)  # "http://127.0.0.1:8080", without a trailing slash
    router_settings = models.JSONField(default=dict)  # as clusters.install.settings.RouterSettings
    admin_token = EncryptedTextField(blank=True)
    artifacts_upload_token = EncryptedTextField(blank=True)
    artifacts_signing_key = EncryptedTextField(blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="cluster_name_once_per_workspace"),
            models.UniqueConstraint(fields=["workspace", "uid"], name="cluster_once_per_workspace"),
        ]

    def __str__(self) -> str:
        return self.name


class ComputeTarget(models.Model):
    """A namespace of a cluster where endpoints of one workspace run."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="compute_targets")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="compute_targets")
    name = models.CharField(max_length=32)
    namespace = models.CharField(max_length=63)
    namespace_made_by_us = models.BooleanField(default=False)
    description = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name"], name="target_name_once_per_workspace"),
            models.UniqueConstraint(fields=["cluster", "namespace"], name="target_namespace_once_per_cluster"),
        ]

    def __str__(self) -> str:
        return self.name


class InstanceType(models.Model):
    """A size a deployment may ask for; lies in the cluster as an InstanceType custom resource as well."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="instance_types")
    name = models.CharField(max_length=63)
    node_selector = models.JSONField(default=dict)
    tolerations = models.JSONField(default=list)
    requests = models.JSONField(default=dict)  # {"cpu": "100m", "memory": "2Gi", ...}
    limits = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["cluster", "name"], name="instance_type_once_per_cluster")]

    def __str__(self) -> str:
        return self.name
