"""Endpoints: the list, a new one, the end of one."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from clusters.models import ComputeTarget
from deployments import access, services
from deployments.forms.endpoint import endpoint_fields, endpoint_form, endpoint_mapping
from deployments.models import Environment, Model
from deployments.regions.endpoints import endpoint_list as list_region
from deployments.specs import parse_endpoint
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.forms import read_values
from studio.htmx import redirect, render_page
from studio.models import Role, Workspace
from studio.paging import page_number


@require_GET
def endpoint_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Endpoints of a workspace, worst first; without any, what one needs."""
    owner = workspace_for(request, workspace)
    find = request.GET.get("find", "").strip()[:32]
    listed = list_region(owner, now=timezone.now(), page=page_number(request), find=find)
    context = {
        "workspace": owner,
        "list": listed,
        "find": find,
        "may_change": access.may_change(request),
    }
    if not listed.total:
        return render_page(request, "deployments/endpoint_empty.html", context | _needs(owner))
    return render_page(request, "deployments/endpoint_list.html", context, regions={"endpoints"})


def _needs(workspace: Workspace) -> dict[str, Any]:
    """What an endpoint needs, as far as it is there."""
    return {
        "target": ComputeTarget.objects.select_related("cluster").filter(workspace=workspace).first(),
        "models": Model.objects.filter(workspace=workspace).count(),
        "newest_model": Model.objects.filter(workspace=workspace).order_by("-created_at").first(),
        "newest_environment": Environment.objects.filter(workspace=workspace).order_by("-created_at").first(),
    }


@require_http_methods(["GET", "POST"])
def endpoint_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """A new endpoint."""
    owner = workspace_for(request, workspace, role=Role.DATA_SCIENTIST)
    targets = list(ComputeTarget.objects.select_related("cluster").filter(workspace=owner))
    fields = endpoint_fields(targets)
    form = endpoint_form(fields, values={})
    if request.method == "POST":
        values = read_values(request.POST, fields=fields)
        try:
            spec = parse_endpoint(endpoint_mapping(values))
            target = next((each for each in targets if each.name == spec.compute), None)
            if target is None:
                raise FieldErrors({"compute": [f"Must be a compute target of {owner}."]})
            made = services.create_endpoint(owner, spec=spec, target=target, actor=actor_of(request))
        except FieldErrors as errors:
            form = endpoint_form(fields, values=values, errors=errors.errors)
        else:
            url = reverse("deployments:endpoint", args=[workspace, made.name])
            return redirect(request, url, text=f"{made} is there. Add a deployment to it.")
    context = {"workspace": owner, "form": form, "targets": targets}
    return render_page(request, "deployments/endpoint_form.html", context, status=422 if form.errors else 200)


@require_POST
def endpoint_delete(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """Delete an endpoint and all behind it."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    operation = services.delete_endpoint(found, actor=actor_of(request))
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))
