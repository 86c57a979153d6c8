"""The page of an endpoint: its Deployments tab, where traffic is moved as well."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from deployments import access, services
from deployments.forms.traffic import read_traffic
from deployments.models import Endpoint
from deployments.regions.deployments import DeploymentRow, deployment_rows
from deployments.regions.endpoint import TABS, endpoint_head
from deployments.regions.traffic import traffic_region
from deployments.regions.why import Why, why_region
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.htmx import redirect, render_page
from studio.models import Role


@require_http_methods(["GET", "POST"])
def endpoint(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """The page; sent to, it moves traffic. The Operation of that ends when every router does as it says."""
    if request.method == "GET":
        return _render(request, access.endpoint_for(request, workspace, endpoint))
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    names = list(found.deployments.filter(deleting=False).values_list("name", flat=True))
    typed = read_traffic(request.POST, deployments=names)
    try:
        services.set_traffic(found, traffic=typed.shares, mirror=typed.mirror_mapping, actor=actor_of(request))
    except FieldErrors as errors:
        again = {"typed": typed.shares, "mirror": (typed.mirror, typed.mirror_percent), "errors": errors.errors}
        return _render(request, found, traffic=again, status=422)
    url = reverse("deployments:endpoint", args=[workspace, endpoint])
    return redirect(request, url, text="Traffic is moving: in force on every router within a second.")


def _render(
    request: HttpRequest, endpoint: Endpoint, *, traffic: Mapping[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """The Deployments tab; `traffic` are arguments of `traffic_region` when its form is shown again."""
    now = timezone.now()

    def read_deployments() -> dict[str, Any]:
        rows = deployment_rows(endpoint, now=now)
        return {
            "rows": rows,
            "traffic": traffic_region(rows, **(traffic or {})),
            "why": _why(endpoint, rows, name=request.GET.get("why", "")),
        }

    regions = {"head": lambda: {"head": endpoint_head(endpoint, now=now)}, "deployments": read_deployments}
    context = endpoint_context(request, endpoint, tab="deployments") | {
        "asked": traffic is not None or "move" in request.GET
    }
    return render_page(request, "deployments/endpoint.html", context, regions=regions, status=status)


def endpoint_context(request: HttpRequest, endpoint: Endpoint, *, tab: str) -> dict[str, Any]:
    """What every tab of an endpoint needs besides its regions."""
    return {
        "workspace": endpoint.workspace,
        "endpoint": endpoint,
        "tab": tab,
        "tabs": [_tab(endpoint, name=name, label=label) for name, label in TABS],
        "endpoint_topics": f"endpoint-{endpoint.pk} endpoint-{endpoint.pk}-metrics",
        "may_change": access.may_change(request) and not endpoint.deleting,
    }


def _tab(endpoint: Endpoint, *, name: str, label: str) -> dict[str, str]:
    view = "deployments:endpoint" + ("" if name == "deployments" else f"-{name}")
    return {"name": name, "label": label, "url": reverse(view, args=[endpoint.workspace.name, endpoint.name])}


def _why(endpoint: Endpoint, rows: list[DeploymentRow], *, name: str) -> Why | None:
    """The panel of the deployment asked for, else of the one with the most traffic."""
    chosen = next((row for row in rows if row.name == name), None)
    chosen = chosen or max(rows, key=lambda row: (row.share, row.mirror), default=None)
    return why_region(endpoint, row=chosen) if chosen else None
