"""Clusters: the list, attaching, one cluster, checking it again and detaching it."""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from clusters.access import cluster_for
from clusters.account import FILE, account_yaml
from clusters.forms.attach import attach_fields, attach_form, uploaded_text
from clusters.regions.cluster import cluster_page, cluster_rows, list_truth
from clusters.services import attach_cluster, check_cluster, detach_cluster
from studio.access import includes, workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors, SlipwayError
from studio.forms import read_values
from studio.htmx import redirect, render_page
from studio.models import Role


def may_change(request: HttpRequest) -> bool:
    """Whether the member looking on is an operator; access.* has put the role on the request."""
    return includes(getattr(request, "role", None), Role.OPERATOR)


@require_GET
def cluster_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Worst first."""
    owner = workspace_for(request, workspace)
    groups = cluster_rows(owner)
    context = {
        "groups": groups,
        "truth": list_truth(groups),
        "topic": f"workspace-{owner.pk}-clusters",
        "may_change": may_change(request),
    }
    return render_page(request, "clusters/cluster_list.html", context, regions={"clusters"})


@require_http_methods(["GET", "POST"])
def attach(request: HttpRequest, workspace: str) -> HttpResponse:
    """A kubeconfig pasted or uploaded becomes a cluster; `?name=` gives a known one new credentials."""
    owner = workspace_for(request, workspace, role=Role.OPERATOR)
    if request.method == "GET":
        form = attach_form(values={"name": request.GET.get("name", "")})
        return render_page(request, "clusters/attach.html", {"form": form})
    values = read_values(request.POST, fields=attach_fields(""))
    upload = request.FILES.get("file")
    if upload:
        values["kubeconfig"] = uploaded_text(upload.read(1 << 20))
    try:
        cluster, _ = attach_cluster(
            owner,
            name=values["name"],
            kubeconfig_text=values["kubeconfig"],
            context=values["context"],
            allow_insecure=bool(values["allow_insecure"]),
            actor=actor_of(request),
        )
    except FieldErrors as error:
        form = attach_form(values=values, errors=error.errors)
        return render_page(request, "clusters/attach.html", {"form": form}, status=422)
    return redirect(request, reverse("clusters:cluster", args=[workspace, cluster.name]))


@require_GET
def account(request: HttpRequest, workspace: str) -> HttpResponse:
    """The account to make in a cluster before it is attached, as a file for kubectl."""
    workspace_for(request, workspace)
    headers = {"Content-Disposition": f'attachment; filename="{FILE}"'}
    return HttpResponse(account_yaml(), content_type="application/yaml", headers=headers)


@require_GET
def cluster_detail(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """One cluster."""
    cluster = cluster_for(request, workspace, name)
    page = cluster_page(cluster)
    topics = f"cluster-{cluster.pk}" + (f" operation-{page.panel.op.pk}" if page.panel else "")
    context = {
        "cluster": cluster,
        "page": page,
        "topic": f"cluster-{cluster.pk}",
        "topics": topics,
        "may_change": may_change(request),
    }
    regions = {"head", "operation", "nodes", "router", "targets", "sizes", "embedded"}
    return render_page(request, "clusters/cluster.html", context, regions=regions)


@require_POST
def check(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Go through the checks of attaching again."""
    cluster = cluster_for(request, workspace, name, role=Role.OPERATOR)
    check_cluster(cluster, actor=actor_of(request))
    return redirect(request, reverse("clusters:cluster", args=[workspace, name]), text=f"Checking {name}.", state="run")


@require_POST
def detach(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Forget a cluster."""
    cluster = cluster_for(request, workspace, name, role=Role.OPERATOR)
    try:
        detach_cluster(cluster, actor=actor_of(request))
    except SlipwayError as error:
        url = reverse("clusters:cluster", args=[workspace, name])
        return redirect(request, url, text=error.message, state="fail")
    return redirect(request, reverse("clusters:cluster-list", args=[workspace]), text=f"Detached {name}.")
