"""The router of a cluster: its settings, installing and removing it."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from clusters.access import cluster_for
from clusters.forms.router import read_settings, router_fields, router_form, values_of
from clusters.install.settings import from_json
from clusters.models import Cluster, RouterState
from clusters.services import install_router, uninstall_router
from studio.actor import actor_of
from studio.errors import FieldErrors, SlipwayError
from studio.forms import Form, read_values
from studio.htmx import redirect, render_page
from studio.models import Role


@require_http_methods(["GET", "POST"])
def router_settings(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Install the router, or change how it is installed."""
    cluster = cluster_for(request, workspace, name, role=Role.OPERATOR)
    if request.method == "GET":
        form = router_form(cluster, values=values_of(from_json(cluster.router_settings)))
        return _page(request, cluster, form=form)
    values = read_values(request.POST, fields=router_fields(cluster))
    try:
        operation = install_router(cluster, settings=read_settings(values), actor=actor_of(request))
    except FieldErrors as error:
        return _page(request, cluster, form=router_form(cluster, values=values, errors=error.errors), status=422)
    except SlipwayError as error:
        form = router_form(cluster, values=values)
        return _page(request, cluster, form=form, refusal=error.message, status=error.status)
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))


@require_POST
def uninstall(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Remove the router."""
    cluster = cluster_for(request, workspace, name, role=Role.OPERATOR)
    try:
        operation = uninstall_router(cluster, actor=actor_of(request))
    except SlipwayError as error:
        url = reverse("clusters:cluster", args=[workspace, name])
        return redirect(request, url, text=error.message, state="fail")
    return redirect(request, reverse("studio:operation", args=[workspace, operation.pk]))


def _page(request: HttpRequest, cluster: Cluster, *, form: Form, refusal: str = "", status: int = 200) -> HttpResponse:
    there = cluster.router_state != RouterState.ABSENT
    context = {"cluster": cluster, "form": form, "refusal": refusal, "there": there}
    return render_page(request, "clusters/router.html", context, status=status)
