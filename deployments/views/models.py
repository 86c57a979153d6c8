"""Models: list, one version, register."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from deployments import access, services
from deployments.forms.registry import MODEL_FIELDS
from deployments.forms.uploads import read_uploads
from deployments.regions.registry import model_rows, uses_of, versions_of
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.forms import Form, parse_lines, read_values
from studio.htmx import redirect, render_page
from studio.models import Role
from studio.paging import page_number


@require_GET
def model_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Models of a workspace, by name."""
    owner = workspace_for(request, workspace)
    context = {"workspace": owner, "page": model_rows(owner, page=page_number(request))}
    return render_page(request, "deployments/model_list.html", context, regions={"models"})


@require_GET
def model(request: HttpRequest, workspace: str, name: str, version: int) -> HttpResponse:
    """One version of a model: its files and what uses it."""
    found = access.model_for(request, workspace, name, version)
    context = {
        "workspace": found.workspace,
        "model": found,
        "uses": uses_of(model=found),
        "versions": versions_of(found),
    }
    return render_page(request, "deployments/model.html", context)


@require_http_methods(["GET", "POST"])
def model_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """Register a model from uploaded files."""
    owner = workspace_for(request, workspace, role=Role.DATA_SCIENTIST)
    form = Form(MODEL_FIELDS, values={"name": request.GET.get("name", "")})
    if request.method == "POST":
        values = read_values(request.POST, fields=MODEL_FIELDS)
        try:
            made = services.register_model(
                owner,
                name=values["name"].strip(),
                files=read_uploads(request, field="files"),
                description=values["description"].strip(),
                tags=parse_lines(values["tags"]),
                actor=actor_of(request),
            )
        except FieldErrors as errors:
            form = Form(MODEL_FIELDS, values=values, errors=errors.errors)
        else:
            url = reverse("deployments:model", args=[workspace, made.name, made.version])
            return redirect(request, url, text=f"{made} is registered.")
    status = 422 if form.errors else 200
    return render_page(request, "deployments/model_form.html", {"workspace": owner, "form": form}, status=status)
