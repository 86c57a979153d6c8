"""Who may see and change what. Every ownership check of the studio's own nouns is here.

A stranger gets 404, because even a workspace's name is nobody else's business. A member without the role gets 403,
with a page that says which role is needed and who can grant it.
"""

import uuid

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from studio.models import LogStream, Membership, Operation, Role, Workspace

ORDER = (Role.READER, Role.DATA_SCIENTIST, Role.OPERATOR, Role.OWNER)  # each includes those before it


class RoleNeeded(PermissionDenied):
    """A member asked for more than their role allows."""

    def __init__(self, *, workspace: Workspace, role: Role, needed: Role) -> None:
        self.workspace, self.role, self.needed = workspace, role, needed
        super().__init__(
            f"This needs the role {needed.label} in {workspace}; yours is {role.label}. "
            f"An owner of {workspace} can grant it."
        )


def role_in(user: object, workspace: Workspace) -> Role | None:
    """The role of `user` in `workspace`; None for strangers and for nobody."""
    pk = getattr(user, "pk", None)
    if pk is None:
        return None
    name = Membership.objects.filter(workspace=workspace, user_id=pk).values_list("role", flat=True).first()
    return Role(name) if name else None


def includes(role: Role | None, needed: Role) -> bool:
    """Whether someone with `role` may do what `needed` may."""
    return role is not None and ORDER.index(role) >= ORDER.index(needed)


def may(user: object, workspace: Workspace, role: Role) -> bool:
    """Whether `user` has at least `role` in `workspace`."""
    return includes(role_in(user, workspace), role)


def workspace_for(request: HttpRequest, name: str, *, role: Role = Role.READER) -> Workspace:
    """The workspace called `name`, for a member with at least `role`. Also remembers both for the page's frame.

    Raises Http404 for a stranger (or no such workspace) and RoleNeeded for a member with too little.
    """
    memberships = Membership.objects.select_related("workspace").filter(workspace__name=name)
    membership = memberships.filter(user_id=request.user.pk).first() if request.user.pk is not None else None
    if membership is None:
        raise Http404(f"There is no workspace {name}, or it is not yours.")
    request.workspace = membership.workspace  # type: ignore[attr-defined]
    request.role = Role(membership.role)  # type: ignore[attr-defined]
    if not includes(Role(membership.role), role):
        raise RoleNeeded(workspace=membership.workspace, role=Role(membership.role), needed=role)
    return membership.workspace


def operation_for(
    request: HttpRequest, workspace: str, operation_id: uuid.UUID, *, role: Role = Role.READER
) -> Operation:
    """An Operation of a workspace, or Http404."""
    owner = workspace_for(request, workspace, role=role)
    found = (
        Operation.objects.select_related("actor", "workspace", "log").filter(workspace=owner, pk=operation_id).first()
    )
    if found is None:
        raise Http404("There is no such operation in this workspace.")
    return found


def stream_for(request: HttpRequest, workspace: str, stream_id: int) -> LogStream:
    """A log stream of a workspace, or Http404."""
    found = LogStream.objects.filter(workspace=workspace_for(request, workspace), pk=stream_id).first()
    if found is None:
        raise Http404("There is no such log in this workspace.")
    return found
