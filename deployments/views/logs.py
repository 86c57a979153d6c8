"""The Logs tab: choose a deployment and a stream; the lines come over the socket. The studio offers the download."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from deployments import access
from deployments.regions.endpoint import endpoint_head
from deployments.regions.logs import logs_region
from deployments.views.endpoint import endpoint_context
from studio.htmx import render_page


@require_GET
def endpoint_logs(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Streams of an endpoint's deployments and the one that is read."""
    found = access.endpoint_for(request, workspace, endpoint)
    asked = request.GET.get("stream", "")
    stream = access.stream_of(found, int(asked)) if asked.isascii() and asked.isdigit() else None
    regions = {
        "head": lambda: {"head": endpoint_head(found, now=timezone.now())},
        "streams": lambda: {
            "logs": logs_region(
                found, deployment=request.GET.get("deployment", ""), stream_id=stream.pk if stream else None
            )
        },
    }
    return render_page(
        request, "deployments/endpoint_logs.html", endpoint_context(request, found, tab="logs"), regions=regions
    )
