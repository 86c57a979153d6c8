"""People and roles of a workspace."""

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from studio.access import workspace_for
from studio.actor import actor_of
from studio.errors import FieldErrors, SlipwayError
from studio.htmx import redirect, render_page
from studio.models import Role, Workspace
from studio.services.members import Added, add_member, remove_member, set_role

MEANS = {
    Role.READER: "Sees everything but keys and secrets.",
    Role.DATA_SCIENTIST: "Registers models, deploys, moves traffic, rotates keys.",
    Role.OPERATOR: "Also attaches clusters and defines compute targets and instance types.",
    Role.OWNER: "Also grants roles.",
}


@require_http_methods(["GET", "POST"])
@sensitive_variables("added")
def member_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """Who belongs here; a POST by an owner lets somebody in."""
    posted = request.method == "POST"
    owner = workspace_for(request, workspace, role=Role.OWNER if posted else Role.READER)
    added: Added | None = None
    errors: dict[str, list[str]] = {}
    if posted:
        try:
            role = _role(request)
            added = add_member(owner, username=request.POST.get("username", ""), role=role, actor=actor_of(request))
        except FieldErrors as error:
            errors = error.errors
    context = {
        "members": owner.memberships.select_related("user").order_by("user__username"),
        "roles": [(role, MEANS[role]) for role in Role],
        "added": added,
        "errors": errors,
        "typed": request.POST if errors else {"role": Role.READER.value},
    }
    return render_page(request, "studio/members.html", context, status=422 if errors else 200)


@require_POST
def change_role(request: HttpRequest, workspace: str, user_id: int) -> HttpResponse:
    """Give a member another role."""
    owner = workspace_for(request, workspace, role=Role.OWNER)
    member = _member(owner, user_id)
    role = _role(request)
    try:
        set_role(owner, user=member, role=role, actor=actor_of(request))
    except SlipwayError as error:
        return _back(request, owner, error.message, state="fail")
    return _back(request, owner, f"{member} is {role.label} now.")


@require_POST
def remove(request: HttpRequest, workspace: str, user_id: int) -> HttpResponse:
    """Put a member out of the workspace."""
    owner = workspace_for(request, workspace, role=Role.OWNER)
    member = _member(owner, user_id)
    try:
        remove_member(owner, user=member, actor=actor_of(request))
    except SlipwayError as error:
        return _back(request, owner, error.message, state="fail")
    return _back(request, owner, f"{member} does not belong to {owner} any more.")


def _role(request: HttpRequest) -> Role:
    try:
        return Role(request.POST.get("role", ""))
    except ValueError:
        raise FieldErrors({"role": ["One of the four roles."]}) from None


def _member(workspace: Workspace, user_id: int) -> User:
    found = workspace.memberships.select_related("user").filter(user_id=user_id).first()
    if found is None:
        raise Http404("This person does not belong to the workspace.")
    return found.user


def _back(request: HttpRequest, workspace: Workspace, text: str, *, state: str = "ok") -> HttpResponse:
    return redirect(request, reverse("studio:member-list", args=[workspace.name]), text=text, state=state)
