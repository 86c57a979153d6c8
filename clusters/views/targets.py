"""Compute targets: the list, a new one, taking one back."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from clusters.access import target_for
from clusters.forms.targets import target_form
from clusters.models import Cluster, ComputeTarget
from clusters.regions.cluster import target_rows
from clusters.services import create_target, delete_target
from clusters.views.clusters import may_change
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors, SlipwayError
from studio.forms import Form, read_values
from studio.htmx import redirect, render_page
from studio.models import Role, Workspace


@require_GET
def target_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Where endpoints of this workspace may run."""
    owner = workspace_for(request, workspace)
    context = {
        "targets": target_rows(ComputeTarget.objects.filter(workspace=owner)),
        "has_clusters": Cluster.objects.filter(workspace=owner).exists(),
        "topic": f"workspace-{owner.pk}-clusters",
        "may_change": may_change(request),
    }
    return render_page(request, "clusters/target_list.html", context, regions={"targets"})


@require_http_methods(["GET", "POST"])
def target_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """Lend a namespace."""
    owner = workspace_for(request, workspace, role=Role.OPERATOR)
    clusters = list(Cluster.objects.filter(workspace=owner))
    if request.method == "GET":
        values = {"cluster": request.GET.get("cluster", ""), "create_namespace": "on"}
        return _page(request, target_form(clusters, values=values))
    fields = target_form(clusters, values={}).fields
    values = read_values(request.POST, fields=fields)
    try:
        _create(request, owner, values=values, clusters=clusters)
    except FieldErrors as error:
        return _page(request, target_form(clusters, values=values, errors=error.errors), status=422)
    except SlipwayError as error:
        return _page(request, target_form(clusters, values=values), refusal=error.message, status=error.status)
    url = reverse("clusters:target-list", args=[workspace])
    return redirect(request, url, text=f"Endpoints can run on {values['name']} now.")


@require_POST
def target_delete(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Take a namespace back."""
    target = target_for(request, workspace, name, role=Role.OPERATOR)
    url = reverse("clusters:target-list", args=[workspace])
    try:
        delete_target(target, actor=actor_of(request))
    except SlipwayError as error:
        return redirect(request, url, text=error.message, state="fail")
    return redirect(request, url, text=f"Deleted {name}.")


def _create(request: HttpRequest, owner: Workspace, *, values: dict[str, str], clusters: list[Cluster]) -> None:
    cluster = next((each for each in clusters if each.name == values["cluster"]), None)
    if cluster is None:
        raise FieldErrors({"cluster": ["Must be a cluster of this workspace."]})
    create_target(
        owner,
        cluster=cluster,
        name=values["name"],
        namespace=values["namespace"],
        create_namespace=bool(values["create_namespace"]),
        description=values["description"],
        actor=actor_of(request),
    )


def _page(request: HttpRequest, form: Form, *, refusal: str = "", status: int = 200) -> HttpResponse:
    return render_page(request, "clusters/target_form.html", {"form": form, "refusal": refusal}, status=status)
