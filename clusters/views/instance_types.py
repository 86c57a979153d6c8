"""Instance types: the list with the room there is, a new one, changing and deleting one."""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from clusters.access import instance_type_for
from clusters.forms.instance_types import instance_type_form, read_size, values_of
from clusters.models import Cluster, InstanceType
from clusters.regions.cluster import size_groups
from clusters.services import create_instance_type, delete_instance_type, update_instance_type
from clusters.sizes import default_size
from clusters.views.clusters import may_change
from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors, SlipwayError
from studio.forms import Form, read_values
from studio.htmx import redirect, render_page
from studio.models import Role


@require_GET
def instance_type_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Every size of every cluster."""
    owner = workspace_for(request, workspace)
    context = {
        "groups": size_groups(owner),
        "topic": f"workspace-{owner.pk}-clusters",
        "may_change": may_change(request),
    }
    return render_page(request, "clusters/instance_type_list.html", context, regions={"sizes"})


@require_http_methods(["GET", "POST"])
def instance_type_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """Offer a size."""
    owner = workspace_for(request, workspace, role=Role.OPERATOR)
    clusters = list(Cluster.objects.filter(workspace=owner))
    if request.method == "GET":
        values = values_of(default_size("")) | {"name": request.GET.get("name", "")}
        return _page(request, instance_type_form(clusters, values=values | {"cluster": request.GET.get("cluster", "")}))
    values = read_values(request.POST, fields=instance_type_form(clusters, values={}).fields)
    try:
        _create(request, values, clusters=clusters)
    except FieldErrors as error:
        return _page(request, instance_type_form(clusters, values=values, errors=error.errors), status=422)
    except SlipwayError as error:
        form = instance_type_form(clusters, values=values)
        return _page(request, form, refusal=error.message, status=error.status)
    url = reverse("clusters:instance-type-list", args=[workspace])
    return redirect(request, url, text=f"Deployments can ask for {values['name']} now.")


@require_http_methods(["GET", "POST"])
def instance_type_edit(request: HttpRequest, workspace: str, cluster: str, name: str) -> HttpResponse:
    """Change a size."""
    row = instance_type_for(request, workspace, cluster, name, role=Role.OPERATOR)
    fixed = {"name": row.name, "cluster": row.cluster.name}
    if request.method == "GET":
        return _page(request, instance_type_form([row.cluster], values=values_of(row) | fixed), row=row)
    values = read_values(request.POST, fields=instance_type_form([row.cluster], values={}).fields) | fixed
    size = read_size(values)
    try:
        update_instance_type(
            row,
            requests=size.requests,
            limits=size.limits,
            node_selector=size.node_selector,
            tolerations=size.tolerations,
            actor=actor_of(request),
        )
    except FieldErrors as error:
        form = instance_type_form([row.cluster], values=values, errors=error.errors)
        return _page(request, form, row=row, status=422)
    except SlipwayError as error:
        form = instance_type_form([row.cluster], values=values)
        return _page(request, form, row=row, refusal=error.message, status=error.status)
    return redirect(request, reverse("clusters:instance-type-list", args=[workspace]), text=f"Changed {name}.")


@require_POST
def instance_type_delete(request: HttpRequest, workspace: str, cluster: str, name: str) -> HttpResponse:
    """Take a size away."""
    row = instance_type_for(request, workspace, cluster, name, role=Role.OPERATOR)
    url = reverse("clusters:instance-type-list", args=[workspace])
    try:
        delete_instance_type(row, actor=actor_of(request))
    except SlipwayError as error:
        return redirect(request, url, text=error.message, state="fail")
    return redirect(request, url, text=f"Deleted {name}.")


def _create(request: HttpRequest, values: Mapping[str, str], *, clusters: list[Cluster]) -> InstanceType:
    cluster = next((each for each in clusters if each.name == values["cluster"]), None)
    if cluster is None:
        raise FieldErrors({"cluster": ["Must be a cluster of this workspace."]})
    size = read_size(values)
    return create_instance_type(
        cluster,
        name=size.name,
        requests=size.requests,
        limits=size.limits,
        node_selector=size.node_selector,
        tolerations=size.tolerations,
        actor=actor_of(request),
    )


def _page(
    request: HttpRequest, form: Form, *, row: InstanceType | None = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    context = {"form": form, "row": row, "refusal": refusal}
    return render_page(request, "clusters/instance_type_form.html", context, status=status)
