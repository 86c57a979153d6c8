"""Pages of Operations: the list, and one with its timeline, its log and, when it failed, its cause."""

import uuid

from django.db.models import Case, IntegerField, Value, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from studio.access import operation_for, workspace_for
from studio.actor import actor_of
from studio.htmx import redirect, render_page
from studio.models import UNFINISHED, OperationState, Role
from studio.offers import offers_for
from studio.paging import page_number, page_of
from studio.services.audit import record
from studio.services.operations import request_cancel
from studio.services.subject import Subject
from studio.timeline import view_operation

FILTERS = {"": "All", "running": "Under way", "failed": "Failed"}


@require_GET
def operation_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Unfinished first, then the newest."""
    owner = workspace_for(request, workspace)
    rank = Case(When(state__in=UNFINISHED, then=Value(0)), default=Value(1), output_field=IntegerField())
    rows = owner.operations.select_related("actor").annotate(rank=rank).order_by("rank", "-created_at")
    chosen = request.GET.get("show", "")
    if chosen == "running":
        rows = rows.filter(state__in=UNFINISHED)
    elif chosen == "failed":
        rows = rows.filter(state=OperationState.FAILED)
    page = page_of(rows, number=page_number(request))
    views = [(op, view_operation(op, steps=[], now=timezone.now())) for op in page.rows]
    groups = [
        ("Under way", [pair for pair in views if not pair[0].finished]),
        ("Ended", [pair for pair in views if pair[0].finished]),
    ]
    context = {"page": page, "groups": groups, "filters": FILTERS, "chosen": chosen, "owner": owner}
    return render_page(request, "studio/operation_list.html", context, regions={"operations"})


@require_GET
def operation_page(request: HttpRequest, workspace: str, operation_id: uuid.UUID) -> HttpResponse:
    """One Operation."""
    op = operation_for(request, workspace, operation_id)
    view = view_operation(op, steps=list(op.steps.all()), now=timezone.now())
    offers = offers_for(op, role=request.role)  # type: ignore[attr-defined]
    context = {"op": op, "view": view, "topic": f"operation-{op.pk}", "offers": offers}
    return render_page(request, "studio/operation.html", context, regions={"head", "steps"})


@require_POST
def cancel_operation(request: HttpRequest, workspace: str, operation_id: uuid.UUID) -> HttpResponse:
    """Ask an Operation to stop."""
    op = operation_for(request, workspace, operation_id, role=Role.DATA_SCIENTIST)
    actor = actor_of(request)
    asked = request_cancel(op, actor=actor)
    if asked:
        subject = Subject(kind="operation", id=str(op.pk), label=op.title)
        record(actor, workspace=op.workspace, action="operation.cancel", subject=subject)
    text = f"Cancelling: {op.title}." if asked else f"{op.title} had ended or was being cancelled already."
    return redirect(request, reverse("studio:operation", args=[workspace, op.pk]), text=text)


@require_GET
def nav(request: HttpRequest, workspace: str) -> HttpResponse:
    """The links of the nav with their counts, for the page at ?at=."""
    workspace_for(request, workspace)
    request.path = request.GET.get("at", "")
    return render(request, "studio/nav.html", {"at": request.path})
