"""Who changed what, when, from where. Rows are only ever added."""

from django.conf import settings
from django.db import models

from studio.models.workspace import Workspace


class AuditEntry(models.Model):
    """One change. `before` and `after` never hold a secret."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="audit")
    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    actor_name = models.CharField(max_length=150)  # kept when the person is gone; "slipway" for the first run
    address = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=60)  # "endpoint.create", "key.rotate"
    subject_kind = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    subject_label = models.CharField(max_length=200)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["workspace", "-at"]),
            models.Index(fields=["subject_kind", "subject_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.subject_label}"
