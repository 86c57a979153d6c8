"""The log store: streams of numbered lines.

A line's sequence number is given once, when it is stored, and never reused: whoever has seen up to n asks for what is
after n and gets every line exactly once, however often the socket broke. The socket only says how far a stream goes.
"""

from django.db import models

from studio.models.operation import Operation
from studio.models.workspace import Workspace


class LogStream(models.Model):
    """Lines of one source: an Operation, or one container of one pod."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200, unique=True)  # "operation/<id>", "pod/<uid>/<container>/<restart>"
    operation = models.OneToOneField(Operation, null=True, on_delete=models.CASCADE, related_name="log")
    # What the stream is about: ("deployment", "12"); the Logs tab lists by this.
    subject_kind = models.CharField(max_length=40, blank=True)
    subject_id = models.CharField(max_length=64, blank=True)
    label = models.CharField(max_length=200)  # "iris--blue-6c9f-x2, server"
    last_seq = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["subject_kind", "subject_id", "-created_at"])]

    def __str__(self) -> str:
        return self.key


class LogLine(models.Model):
    """One line."""

    stream = models.ForeignKey(LogStream, on_delete=models.CASCADE, related_name="lines")
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    source = models.CharField(max_length=40)  # "studio", "build", "storage", "server", "router", "event"
    level = models.CharField(max_length=8, default="info")  # "info", "warn", "error"
    text = models.TextField()

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["stream", "seq"], name="line_once_per_stream")]

    def __str__(self) -> str:
        return self.text
