"""The Metrics tab, and the figures its script asks for."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from deployments import access
from deployments.charts.buckets import SPANS, span_named
from deployments.regions.endpoint import endpoint_head
from deployments.regions.metrics import metric_choices, metrics_region
from deployments.views.endpoint import endpoint_context
from studio.htmx import render_page


@require_GET
def endpoint_metrics(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Four charts of the last minutes or hours, and the decisions in them."""
    found = access.endpoint_for(request, workspace, endpoint)
    now, span = timezone.now(), span_named(request.GET.get("span"))
    choices = metric_choices(list(found.deployments.all()))
    only = next((each.name for each in choices if each.name == request.GET.get("deployment", "")), "")
    regions = {
        "head": lambda: {"head": endpoint_head(found, now=now)},
        "now": lambda: {"metrics": metrics_region(found, only=only, span=span, now=now)},
    }
    context = endpoint_context(request, found, tab="metrics") | {
        "choices": choices,
        "only": only,
        "span": span,
        "spans": SPANS,
    }
    return render_page(request, "deployments/endpoint_metrics.html", context, regions=regions)


@require_GET
def figures(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Plotly figures as JSON."""
    found = access.endpoint_for(request, workspace, endpoint)
    region = metrics_region(
        found, only=request.GET.get("deployment", ""), span=span_named(request.GET.get("span")), now=timezone.now()
    )
    return JsonResponse(region.to_json(), headers={"Cache-Control": "no-store"})
