"""Environments: list, one version, register."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from deployments import access, services
from deployments.forms.registry import ENVIRONMENT_FIELDS, environment_arguments
from deployments.regions.registry import builds_of, environment_rows, uses_of, versions_of
from deployments.specs import normalise_definition
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.forms import Form, read_values
from studio.htmx import redirect, render_page
from studio.models import Role
from studio.paging import page_number


@require_GET
def environment_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Environments of a workspace, by name."""
    owner = workspace_for(request, workspace)
    context = {"workspace": owner, "page": environment_rows(owner, page=page_number(request))}
    return render_page(request, "deployments/environment_list.html", context, regions={"environments"})


@require_GET
def environment(request: HttpRequest, workspace: str, name: str, version: int) -> HttpResponse:
    """One version of an environment: its definition, where it is built, what uses it."""
    found = access.environment_for(request, workspace, name, version)
    definition = normalise_definition(found.requirements, python_version=found.python_version)
    context = {
        "workspace": found.workspace,
        "environment": found,
        "definition": None if found.image else definition,
        "builds": builds_of(found),
        "uses": uses_of(environment=found),
        "versions": versions_of(found),
    }
    return render_page(request, "deployments/environment.html", context, regions={"builds"})


@require_http_methods(["GET", "POST"])
def environment_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """Register an environment from packages or an image."""
    owner = workspace_for(request, workspace, role=Role.DATA_SCIENTIST)
    form = Form(ENVIRONMENT_FIELDS, values={"name": request.GET.get("name", ""), "kind": "requirements"})
    if request.method == "POST":
        values = read_values(request.POST, fields=ENVIRONMENT_FIELDS)
        try:
            made = services.register_environment(
                owner,
                **environment_arguments(values),
                description=values["description"].strip(),
                actor=actor_of(request),
            )
        except FieldErrors as errors:
            form = Form(ENVIRONMENT_FIELDS, values=values, errors=errors.errors)
        else:
            url = reverse("deployments:environment", args=[workspace, made.name, made.version])
            return redirect(request, url, text=f"{made} is registered.")
    status = 422 if form.errors else 200
    return render_page(request, "deployments/environment_form.html", {"workspace": owner, "form": form}, status=status)
