"""What the frame around every page shows: the workspace, the way to the others, the nav with its counts.

Built once per page and only when the frame is drawn: a refreshed region pays nothing for it. The counts are one query.
"""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject

from studio.models import UNFINISHED, Membership, Role, Workspace

# key, title, icon, reverse name, (model, path to its workspace) that is counted
_RUN = (
    ("endpoints", "Endpoints", "endpoint", "deployments:endpoint-list", ("deployments.Endpoint", "workspace")),
    ("models", "Models", "model", "deployments:model-list", ("deployments.Model", "workspace")),
    ("environments", "Environments", "env", "deployments:environment-list", ("deployments.Environment", "workspace")),
    ("operations", "Operations", "ops", "studio:operation-list", ("studio.Operation", "workspace")),
)
_PLACES = (
    ("clusters", "Clusters", "cluster", "clusters:cluster-list", ("clusters.Cluster", "workspace")),
    ("compute-targets", "Compute targets", "target", "clusters:target-list", ("clusters.ComputeTarget", "workspace")),
    ("instance-types", "Instance types", "size", "clusters:instance-type-list",
     ("clusters.InstanceType", "cluster__workspace")),
)  # fmt: skip
_ROOM = (
    ("people", "People and roles", "team", "studio:member-list", None),
    ("audit", "Audit", "audit", "studio:audit-list", None),
)


@dataclass(frozen=True)
class NavLink:
    """One line of the nav. `count` is None where a number says nothing."""

    title: str
    icon: str
    url: str
    count: int | None
    current: bool


@dataclass(frozen=True)
class Frame:
    """The frame of a page inside a workspace."""

    workspace: Workspace
    role: Role
    workspaces: list[str]
    groups: list[tuple[str, list[NavLink]]]
    topic: str


def page_frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `frame` (None outside a workspace), evaluated when the frame is drawn."""
    return {"frame": SimpleLazyObject(lambda: build_frame(request))}


def build_frame(request: HttpRequest) -> Frame | None:
    """The frame, for the workspace that access.workspace_for put on the request."""
    workspace: Workspace | None = getattr(request, "workspace", None)
    if workspace is None:
        return None
    mine = Membership.objects.filter(user_id=request.user.pk or 0).order_by("workspace__name")
    counts = _counts(workspace)
    groups = [
        (title, [_link(request, workspace, entry, counts) for entry in entries if _reverse(entry[3], workspace)])
        for title, entries in ((workspace.name, _RUN), ("Infrastructure", _PLACES), ("Workspace", _ROOM))
    ]
    return Frame(
        workspace=workspace,
        role=request.role,  # type: ignore[attr-defined]
        workspaces=list(mine.values_list("workspace__name", flat=True)),
        groups=groups,
        topic=f"workspace-{workspace.pk}",
    )


def _link(request: HttpRequest, workspace: Workspace, entry: tuple[Any, ...], counts: dict[str, int]) -> NavLink:
    key, title, icon, name, _ = entry
    url = _reverse(name, workspace)
    return NavLink(title=title, icon=icon, url=url, count=counts.get(key), current=request.path.startswith(url))


def _reverse(name: str, workspace: Workspace) -> str:
    try:
        return reverse(name, args=[workspace.name])
    except NoReverseMatch:  # an app whose pages are not there
        return ""


def _counts(workspace: Workspace) -> dict[str, int]:
    """All counts by one query; none is slower than an index."""
    counted = [(key, _count_of(*source)) for key, _, _, _, source in (*_RUN, *_PLACES) if source]
    row = Workspace.objects.filter(pk=workspace.pk).values_list(*(count for _, count in counted)).get()
    return {key: count or 0 for (key, _), count in zip(counted, row, strict=True)}


def _count_of(model: str, path: str) -> Subquery:
    rows: QuerySet[Any] = QuerySet(apps.get_model(model)).filter(**{path: OuterRef("pk")})
    if model == "studio.Operation":  # the number that matters is how many are under way
        rows = rows.filter(state__in=UNFINISHED)
    return Subquery(rows.order_by().values(path).annotate(n=Count("*")).values("n"), output_field=IntegerField())
