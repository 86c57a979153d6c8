"""Operation: anything that takes time, told truthfully to the person who waits.

    Waiting --claim--> Running --> Succeeded
       |                  |------> Failed      (with exactly one named cause)
       '------------------'------> Cancelled

An Operation is a row first and a task second: the queue may forget, the row does not. Its task is *advance*: look at
the facts, do what can be done now, return. It is run again whenever something it waits for changes, by the beat when a
deadline passes, and after a restart; running it twice does nothing more. Claiming is compare-and-set on `claimed_by`
with a heartbeat, so that two workers never advance the same Operation at once; a wake that arrives meanwhile is
remembered in `wake_requested` and run afterwards.
"""

import uuid

from django.conf import settings
from django.db import models

from studio.models.workspace import Workspace


class OperationState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED = (OperationState.WAITING, OperationState.RUNNING)


class StepState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Skipped"


class Operation(models.Model):
    """One piece of work that takes time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=40)  # "deploy", "attach-cluster", "install-router", "rotate-key", ...
    title = models.CharField(max_length=200)  # "Deploy blue to iris"
    # What it is about, without a foreign key, so that the record outlives the thing:
    # ("deployment", "12", "iris / blue").
    subject_kind = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=64)
    subject_label = models.CharField(max_length=200)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    task = models.CharField(max_length=100)  # Celery task that advances it, called with the id
    params = models.JSONField(default=dict)  # plain values the task needs; never a secret

    state = models.CharField(max_length=12, choices=OperationState, default=OperationState.WAITING)
    summary = models.CharField(max_length=500, blank=True)  # the sentence of truth now
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(default=False)

    claimed_by = models.CharField(max_length=64, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    wake_requested = models.BooleanField(default=False)

    # On failure: the one cause, under the name users know.
    cause_name = models.CharField(max_length=60, blank=True)  # "UserScriptInitFailed"
    cause_text = models.TextField(blank=True)  # what happened, in the user's terms
    cause_proof = models.TextField(blank=True)  # the proving line(s), as the machine wrote them
    cause_fixes = models.JSONField(default=list)  # [{"text": ..., "command": ..., "url": ...}], the surest first

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["workspace", "-created_at"]),
            models.Index(fields=["state"]),
            models.Index(fields=["subject_kind", "subject_id"]),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED


class OperationStep(models.Model):
    """One line of an Operation's timeline."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)  # "image"; what code calls it
    title = models.CharField(max_length=80)  # "Image"; what people read
    state = models.CharField(max_length=12, choices=StepState, default=StepState.WAITING)
    detail = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["operation", "name"], name="step_once_per_operation")]

    def __str__(self) -> str:
        return f"{self.title}: {self.state}"
