"""The audit: who changed what, newest first."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from studio.access import workspace_for
from studio.htmx import render_page
from studio.paging import page_number, page_of


@require_GET
def audit_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Every member may read it. ?who= and ?about= narrow it down."""
    owner = workspace_for(request, workspace)
    rows = owner.audit.select_related("actor")
    who, about = request.GET.get("who", "").strip(), request.GET.get("about", "").strip()
    if who:
        rows = rows.filter(actor_name__icontains=who)
    if about:
        rows = rows.filter(subject_label__icontains=about)
    context = {"page": page_of(rows, number=page_number(request)), "who": who, "about": about}
    return render_page(request, "studio/audit.html", context)
