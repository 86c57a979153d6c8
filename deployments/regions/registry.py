"""Models and environments: lists of the newest versions, and one version with what uses it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max, QuerySet, Window

from deployments.models import Deployment, Environment, EnvironmentImage, Model
from studio.models import Workspace
from studio.paging import Page, page_of


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One name in a list: its newest version, how many there are, how many deployments use any of them."""

    name: str
    version: int
    versions: int
    deployments: int
    what: str  # "3 files" or "packages, Python 3.11"
    size: int | None  # bytes
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Use:
    """A deployment made of this version."""

    endpoint: str
    deployment: str
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class Version:
    """A sibling version."""

    version: int
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Build:
    """The image of a definition on one cluster."""

    cluster: str
    state: str
    label: str
    reference: str
    operation: str
    cause: str
    seconds: float | None


def _newest(rows: QuerySet[Any]) -> QuerySet[Any]:
    by_name: Any = {"partition_by": [F("name")]}
    found: QuerySet[Any] = (
        rows.annotate(newest=Window(Max("version"), **by_name), versions=Window(Count("id"), **by_name))
        .filter(newest=F("version"))
        .order_by("name")
    )
    return found


def _used(field: str, *, workspace: Workspace, page: Page) -> dict[str, int]:
    names = [each.name for each in page.rows]
    found = (
        Deployment.objects.filter(endpoint__workspace=workspace, **{f"{field}__name__in": names})
        .values(f"{field}__name")
        .annotate(count=Count("id"))
    )
    return {row[f"{field}__name"]: row["count"] for row in found}


def model_rows(workspace: Workspace, *, page: int = 1) -> Page:
    """One page of models by name. Two queries."""
    rows = _newest(Model.objects.filter(workspace=workspace)).select_related("artifact", "created_by")
    found = page_of(rows, number=page)
    return _listed(found, used=_used("model", workspace=workspace, page=found))


def environment_rows(workspace: Workspace, *, page: int = 1) -> Page:
    """One page of environments by name. Two queries."""
    rows = _newest(Environment.objects.filter(workspace=workspace)).select_related("created_by")
    found = page_of(rows, number=page)
    return _listed(found, used=_used("environment", workspace=workspace, page=found))


def _listed(page: Page, *, used: dict[str, int]) -> Page:
    rows = [
        RegistryRow(
            name=each.name,
            version=each.version,
            versions=each.versions,
            deployments=used.get(each.name, 0),
            what=_made_of(each),
            size=each.artifact.size if isinstance(each, Model) else None,
            by=_person(each.created_by),
            at=each.created_at,
        )
        for each in page.rows
    ]
    return replace(page, rows=rows)


def _made_of(each: Model | Environment) -> str:
    if isinstance(each, Model):
        return _files(len(each.artifact.files))
    return each.image or f"{_packages(each.requirements)}, Python {each.python_version}"


def uses_of(*, model: Model | None = None, environment: Environment | None = None) -> list[Use]:
    """The deployments made of this version. One query."""
    rows = Deployment.objects.select_related("endpoint").order_by("endpoint__name", "name")
    rows = rows.filter(model=model) if model else rows.filter(environment=environment)
    return [
        Use(endpoint=each.endpoint.name, deployment=each.name, state=each.state, label=each.get_state_display())
        for each in rows
    ]


def versions_of(one: Model | Environment) -> list[Version]:
    """All versions of its name, newest first. One query."""
    rows = type(one).objects.select_related("created_by").filter(workspace_id=one.workspace_id, name=one.name)
    return [Version(version=each.version, at=each.created_at, by=_person(each.created_by)) for each in rows]


def builds_of(environment: Environment) -> list[Build]:
    """Where its definition is built, one cluster each. One query."""
    if not environment.definition_hash:
        return []
    rows = EnvironmentImage.objects.select_related("cluster").filter(
        definition_hash=environment.definition_hash, cluster__workspace_id=environment.workspace_id
    )
    return [
        Build(
            cluster=each.cluster.name,
            state=each.state,
            label=each.get_state_display(),
            reference=each.reference,
            operation=str(each.operation_id or ""),
            cause=each.cause,
            seconds=(each.finished_at - each.started_at).total_seconds() if each.finished_at else None,
        )
        for each in rows
    ]


def _person(user: Any) -> str:
    return user.get_username() if user else ""


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _packages(requirements: str) -> str:
    count = sum(1 for line in requirements.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return "1 package" if count == 1 else f"{count} packages"
