"""A log as a file."""

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse
from django.utils.text import get_valid_filename
from django.views.decorators.http import require_GET

from studio.access import stream_for
from studio.models import LogLine, LogStream
from studio.services.logs import read_lines


@require_GET
def download_log(request: HttpRequest, workspace: str, stream_id: int) -> HttpResponse:
    """Every kept line as text: time, source, level, text."""
    stream = stream_for(request, workspace, stream_id)
    response = HttpResponse("".join(_lines(stream)), content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{get_valid_filename(stream.label or "log")}.log"'
    return response


def _lines(stream: LogStream) -> Iterator[str]:
    after = 0
    while rows := read_lines(stream, after=after, limit=5000):
        yield "".join(_text(row) for row in rows)
        after = rows[-1].seq


def _text(row: LogLine) -> str:
    return f"{row.at.isoformat(timespec='milliseconds')} {row.source} {row.level} {row.text}\n"
