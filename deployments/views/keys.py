"""The Consume tab: how to call, the keys, showing one (audited) and rotating one."""

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from deployments import access, services
from deployments.models import Endpoint
from deployments.regions.consume import consume_region
from deployments.regions.endpoint import endpoint_head
from deployments.views.endpoint import endpoint_context
from studio.actor import actor_of
from studio.errors import FieldErrors
from studio.htmx import redirect, render_page
from studio.models import Role
from studio.services.audit import record
from studio.services.operations import Subject


@require_GET
def consume(request: HttpRequest, workspace: str, endpoint: str) -> HttpResponse:
    """How to call an endpoint; no key is shown."""
    return _render(request, access.endpoint_for(request, workspace, endpoint))


@require_POST
def show_key(request: HttpRequest, workspace: str, endpoint: str, key: str) -> HttpResponse:
    """The same page with one key readable. Who looked is in the audit."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    if not found.keys.filter(name=key).exists():
        raise Http404(f"{found} has no {key} key.")
    subject = Subject("endpoint", str(found.pk), found.name)
    record(actor_of(request), workspace=found.workspace, action="key.show", subject=subject, after={"key": key})
    return _render(request, found, shown=key)


@require_POST
def rotate(request: HttpRequest, workspace: str, endpoint: str, key: str) -> HttpResponse:
    """A new value for a key; the Operation says when the old one has stopped everywhere."""
    found = access.endpoint_for(request, workspace, endpoint, role=Role.DATA_SCIENTIST)
    try:
        _, operation = services.rotate_key(found, name=key, actor=actor_of(request))
    except FieldErrors as error:
        raise Http404(f"{found} has no {key} key.") from error
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))


def _render(request: HttpRequest, endpoint: Endpoint, *, shown: str = "") -> HttpResponse:
    regions = {
        "head": lambda: {"head": endpoint_head(endpoint, now=timezone.now())},
        "consume": lambda: {"consume": consume_region(endpoint, shown=shown)},
    }
    context = endpoint_context(request, endpoint, tab="consume")
    response = render_page(request, "deployments/endpoint_consume.html", context, regions=regions)
    response.headers["Cache-Control"] = "no-store"
    return response
