"""Workspaces, who belongs to them, and the studio's own identity."""

import uuid

from django.conf import settings
from django.db import models


class Installation(models.Model):
    """This studio: one row. Its UUID labels every object it makes in a cluster."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    created_at = models.DateTimeField(auto_now_add=True)


class Workspace(models.Model):
    """A team's room: clusters, models, endpoints and people belong to exactly one."""

    name = models.SlugField(max_length=63, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do; each role includes those before it."""

    READER = "reader", "Reader"
    DATA_SCIENTIST = "data-scientist", "Data scientist"
    OPERATOR = "operator", "Operator"
    OWNER = "owner", "Owner"


class Membership(models.Model):
    """A person's role in a workspace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_role_per_member")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.workspace}"
