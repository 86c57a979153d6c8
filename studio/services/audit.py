"""The audit: one row for every change a person or Slipway made."""

from typing import Any

from studio.actor import Actor
from studio.models import AuditEntry, Workspace
from studio.services.subject import Subject


def record(
    actor: Actor,
    *,
    workspace: Workspace,
    action: str,
    subject: Subject,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> AuditEntry:
    """Write down who did `action` ("endpoint.create") to `subject`. `before` and `after` must not hold secrets."""
    return AuditEntry.objects.create(
        workspace=workspace,
        actor=actor.user,
        actor_name=actor.name,
        address=actor.address,
        action=action,
        subject_kind=subject.kind,
        subject_id=subject.id,
        subject_label=subject.label[:200],
        before=before,
        after=after,
    )
