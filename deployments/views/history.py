"""The History tab: who changed what of an endpoint and its deployments."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from deployments import access
from deployments.regions.endpoint import endpoint_head
from deployments.regions.history import history_region
from deployments.views.endpoint import endpoint_context
from studio.htmx import render_page
from studio.paging import page_number


@require_GET
def endpoint_history(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Newest first."""
    found = access.endpoint_for(request, workspace, endpoint)
    regions = {
        "head": lambda: {"head": endpoint_head(found, now=timezone.now())},
        "history": lambda: {"page": history_region(found, number=page_number(request))},
    }
    context = endpoint_context(request, found, tab="history")
    return render_page(request, "deployments/endpoint_history.html", context, regions=regions)
