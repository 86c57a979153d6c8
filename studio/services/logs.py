"""Writing and reading the log store (see studio.models.logs for its promise)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from studio.live import notify
from studio.models import LogLine, LogStream, Workspace
from studio.services.subject import Subject

KEPT_LINES = 50_000  # newest lines of a stream that are kept
TRIM_EVERY = 2_000  # lines written between two trims
LONGEST_LINE = 16_000  # characters


@dataclass(frozen=True)
class Line:
    """One line to store. `source` is who says it ("studio", "build", "server"), `level` "info", "warn" or "error"."""

    at: datetime
    source: str
    text: str
    level: str = "info"


def open_stream(workspace: Workspace, *, key: str, label: str, subject: Subject | None = None) -> LogStream:
    """The stream called `key` ("pod/<uid>/<container>/<restart>"), made if it is not there yet."""
    stream, _ = LogStream.objects.get_or_create(
        key=key,
        defaults={
            "workspace": workspace,
            "label": label[:200],
            "subject_kind": subject.kind if subject else "",
            "subject_id": subject.id if subject else "",
        },
    )
    return stream


def append_lines(stream: LogStream, *, lines: Iterable[Line]) -> int:
    """Store `lines` in order and tell whoever follows. Returns the stream's last sequence number. Thread-safe."""
    batch = list(lines)
    if not batch:
        return int(LogStream.objects.values_list("last_seq", flat=True).get(pk=stream.pk))
    with transaction.atomic():
        # The row's update is the lock: numbers are given in the order of the transactions, without a hole.
        LogStream.objects.filter(pk=stream.pk).update(last_seq=F("last_seq") + len(batch))
        last = int(LogStream.objects.values_list("last_seq", flat=True).get(pk=stream.pk))
        first = last - len(batch) + 1
        LogLine.objects.bulk_create(
            [_row(stream, seq, line) for seq, line in enumerate(batch, start=first)], batch_size=500
        )
        if last // TRIM_EVERY > (first - 1) // TRIM_EVERY:
            LogLine.objects.filter(stream=stream, seq__lte=last - KEPT_LINES).delete()
        notify(f"log-{stream.pk}", up_to=last)
    stream.last_seq = last
    return last


def _row(stream: LogStream, seq: int, line: Line) -> LogLine:
    text = line.text.rstrip("\r\n").replace("\x00", "�")  # PostgreSQL cannot keep a NUL
    if len(text) > LONGEST_LINE:
        text = text[:LONGEST_LINE] + f" … ({len(text) - LONGEST_LINE:,} more characters)"
    return LogLine(stream=stream, seq=seq, at=line.at, source=line.source[:40], level=line.level[:8], text=text)


def read_lines(stream: LogStream, *, after: int, limit: int = 1000) -> list[LogLine]:
    """Up to `limit` lines with a sequence number above `after`, oldest first."""
    return list(LogLine.objects.filter(stream=stream, seq__gt=after).order_by("seq")[:limit])


def close_stream(stream: LogStream) -> None:
    """Say that no more lines will come. Twice does nothing."""
    if LogStream.objects.filter(pk=stream.pk, closed_at=None).update(closed_at=timezone.now()):
        notify(f"log-{stream.pk}")
